/*
 * floor.h - what the C programs of the bench share.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what, int r)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-r));
	exit(EXIT_FAILURE);
}

static inline sd_bus *connect_bus(const char *address)
{
	sd_bus *bus = NULL;
	int r = sd_bus_new(&bus);
	if (r >= 0)
		r = sd_bus_set_address(bus, address);
	if (r >= 0)
		r = sd_bus_set_bus_client(bus, true);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r < 0)
		die(address, r);
	return bus;
}

static inline void own_name(sd_bus *bus, const char *name)
{
	int r = sd_bus_request_name(bus, name, 0);
	if (r < 0)
		die(name, r);
}

/* Tells the parent that the program serves. */
static void say_ready(void)
{
	puts("ready");
	fflush(stdout);
}
