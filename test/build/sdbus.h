/*
 * sdbus.h - what programs on sd-bus need to be on a message bus.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

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

/* Has ipmbd call the object at path for "NETFN,COMMAND,CHANNELS", the last a mask. */
static inline void register_handler(sd_bus *bus, const char *path, const char *what)
{
	static const char ipmbd[] = "xyz.openbmc_project.Ipmi.Channel.Ipmb";
	unsigned int netfn, command, channels;
	int r = -EINVAL;
	if (sscanf(what, "%u,%u,%u", &netfn, &command, &channels) == 3)
		r = sd_bus_call_method(bus, ipmbd, "/xyz/openbmc_project/Ipmi/Channel/Ipmb",
				       "xyz.openbmc_project.Ipmi.Channel.Ipmb.Router", "RegisterHandler", NULL, NULL,
				       "oa(yyuu)", path, 1, netfn, command, UINT32_MAX, channels);
	if (r < 0)
		die(what, r);
}

/* Tells the parent that the program serves. */
static inline void say_ready(void)
{
	puts("ready");
	fflush(stdout);
}
