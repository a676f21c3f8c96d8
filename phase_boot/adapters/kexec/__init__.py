"""Loading and starting another kernel (kexec_load(2), kexec_file_load(2)), or all but that."""
