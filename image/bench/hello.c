/* The native equivalent of hello.wat, with which `make bench-plasma` compares. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *value(const char *name) {
	const char *found = getenv(name);
	return found ? found : "unknown";
}

int main(void) {
	static char input[1 << 16];
	size_t length = 0;
	ssize_t got;
	while (length < sizeof input && (got = read(0, input + length, sizeof input - length)) > 0)
		length += (size_t)got;
	while (length)
		putchar(input[--length]);
	printf("\nran on %s, booted %s, as %s\n", value("PHASE_ARCH"), value("PHASE_VERSION"),
	       value("PHASE_NODE"));
	return 0;
}
