/*
 * echo ADDRESS SOCKET - the least that a service on sd-bus does for
 * org.openbmc.Ipmb.sendRequest: a frame out on the bus behind a socket, and the
 * answer that has its number back.
 *
 * It has no retries, no time-outs, no limits and no checks, and does not look at
 * its callers' credentials: the vtable is unprivileged and sd-bus is not asked
 * for any. A call waits for its answer in a table; all 64 numbers may be under way.
 */
#include "floor.h"
#include "loop.h"

#define BUS_NAME "xyz.openbmc_project.Ipmi.Channel.Echo"
#define PATH "/xyz/openbmc_project/Ipmi/Channel/Ipmb"
#define INTERFACE "org.openbmc.Ipmb"

static sd_bus_message *calls[SEQUENCE_NUMBERS]; /* that wait for their answer */
static unsigned int last;                       /* number that was used */

/* The number after the last one that no call has, or -1. */
static int free_number(void)
{
	for (unsigned int i = 1; i <= SEQUENCE_NUMBERS; i++) {
		unsigned int number = (last + i) % SEQUENCE_NUMBERS;
		if (calls[number] == NULL)
			return last = number;
	}
	return -1;
}

static int send_request(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	uint8_t frame[MAX_FRAME] = {RESPONDER, 0, 0, BMC};
	uint8_t channel, netfn, lun;
	const void *data;
	size_t size;
	(void)userdata;
	int r = sd_bus_message_read(m, "yyyy", &channel, &netfn, &lun, &frame[COMMAND]);
	if (r >= 0)
		r = sd_bus_message_read_array(m, 'y', &data, &size);
	if (r < 0)
		return r;
	int number = free_number();
	if (number < 0 || size > MAX_FRAME - DATA - 1)
		return sd_bus_error_set(error, SD_BUS_ERROR_LIMITS_EXCEEDED, "too much");
	frame[NETFN] = netfn << 2 | lun;
	frame[SEQUENCE] = number << 2;
	if (size > 0)
		memcpy(frame + DATA, data, size);
	calls[number] = sd_bus_message_ref(m);
	send_frame(frame, DATA + size);
	return 1;
}

static void reply(sd_bus_message *call, const uint8_t *frame, size_t size)
{
	sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_return(call, &m);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'r', "iyyyyay");
	if (r >= 0)
		r = sd_bus_message_append(m, "iyyyy", 0, frame[NETFN] >> 2, frame[SEQUENCE] & 3, frame[COMMAND], frame[DATA]);
	if (r >= 0)
		r = sd_bus_message_append_array(m, 'y', frame + DATA + 1, size - DATA - 2);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	if (r >= 0)
		r = sd_bus_send(NULL, m, NULL);
	if (r < 0)
		die("reply", r);
	sd_bus_message_unref(m);
}

static void take_answer(sd_bus *bus, const uint8_t *frame, size_t size)
{
	(void)bus;
	if (size < DATA + 2)
		return;
	sd_bus_message **call = &calls[frame[SEQUENCE] >> 2];
	if (*call == NULL)
		return;
	reply(*call, frame, size);
	*call = sd_bus_message_unref(*call);
}

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("sendRequest", "yyyyay", "(iyyyyay)", send_request, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	connect_node(argv[2]);
	sd_bus *bus = connect_bus(argv[1]);
	int r = sd_bus_add_object_vtable(bus, NULL, PATH, INTERFACE, vtable, NULL);
	if (r < 0)
		die(INTERFACE, r);
	own_name(bus, BUS_NAME);
	say_ready();
	loop(bus, take_answer);
}
