"""What a person sees: readers of the event stream, never part of the machine."""
