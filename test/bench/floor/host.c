/*
 * host ADDRESS [NETFN,COMMAND,CHANNELS] - a host IPMI daemon as cheap as sd-bus can
 * make it. It takes the host daemon's name, or registers for a command on a mask of
 * channels with ipmbd, and answers every request as if it were Get Device ID.
 *
 * The last four bytes of that answer, which Get Device ID has for auxiliary
 * firmware information, say how many requests came before, LSB first: the bench
 * sees from them in which order its requests arrived.
 */
#include "floor.h"

#define BUS_NAME "xyz.openbmc_project.Ipmi.Host"
#define PATH "/xyz/openbmc_project/Ipmi"
#define INTERFACE "xyz.openbmc_project.Ipmi.Server"

static uint32_t arrived;

static int execute(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	uint8_t device[] = {0x50, 0x01, 0x04, 0x00, 0x02, 0x21, 0x57, 0x01, 0x00, 0x0B, 0x0B,
			    arrived, arrived >> 8, arrived >> 16, arrived >> 24};
	uint8_t netfn, lun, command;
	sd_bus_message *answer = NULL;
	(void)userdata;
	(void)error;
	arrived++;
	int r = sd_bus_message_read(m, "yyy", &netfn, &lun, &command);
	if (r >= 0)
		r = sd_bus_message_new_method_return(m, &answer);
	if (r >= 0)
		r = sd_bus_message_open_container(answer, 'r', "yyyyay");
	if (r >= 0)
		r = sd_bus_message_append(answer, "yyyy", netfn | 1, lun, command, 0);
	if (r >= 0)
		r = sd_bus_message_append_array(answer, 'y', device, sizeof(device));
	if (r >= 0)
		r = sd_bus_message_close_container(answer);
	if (r >= 0)
		r = sd_bus_send(NULL, answer, NULL);
	sd_bus_message_unref(answer);
	return r < 0 ? r : 1;
}

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("execute", "yyyaya{sv}", "(yyyyay)", execute, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	sd_bus *bus = connect_bus(argv[1]);
	int r = sd_bus_add_object_vtable(bus, NULL, PATH, INTERFACE, vtable, NULL);
	if (r < 0)
		die(INTERFACE, r);
	if (argc > 2)
		register_handler(bus, PATH, argv[2]);
	else
		own_name(bus, BUS_NAME);
	say_ready();
	for (;;) {
		while ((r = sd_bus_process(bus, NULL)) > 0)
			;
		if (r < 0 || (r = sd_bus_wait(bus, UINT64_MAX)) < 0)
			die("message bus", r);
	}
}
