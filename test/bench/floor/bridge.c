/*
 * bridge ADDRESS SOCKET - the least that hands requests from a bus to the host
 * IPMI daemon: each frame that comes from behind the socket is a call of execute,
 * and its reply a frame that goes back. Calls do not wait for one another.
 *
 * It has no table of duplicates, no limits and no log.
 */
#include "floor.h"
#include "loop.h"

#define HOST_NAME "xyz.openbmc_project.Ipmi.Host"
#define HOST_PATH "/xyz/openbmc_project/Ipmi"
#define HOST_INTERFACE "xyz.openbmc_project.Ipmi.Server"

enum { CC_UNSPECIFIED = 0xFF };

/* The parts of a request that its answer repeats fit the pointer that a callback gets. */
static void *to_userdata(const uint8_t *frame)
{
	return (void *)(uintptr_t)(frame[NETFN] | frame[SOURCE] << 8 | frame[SEQUENCE] << 16 |
				   (uint32_t)frame[COMMAND] << 24);
}

static size_t begin_answer(uint8_t *frame, void *userdata)
{
	uint32_t request = (uint32_t)(uintptr_t)userdata;
	uint8_t netfn = request, requester = request >> 8, sequence = request >> 16;
	frame[0] = requester;
	frame[NETFN] = ((netfn >> 2) + 1) << 2 | (sequence & 3);
	frame[SOURCE] = BMC;
	frame[SEQUENCE] = (sequence & ~3) | (netfn & 3);
	frame[COMMAND] = request >> 24;
	frame[DATA] = CC_UNSPECIFIED;
	return DATA + 1;
}

/* Reads (yyyyay) behind what begin_answer has put into the frame. */
static int read_reply(sd_bus_message *m, uint8_t *frame, size_t *end)
{
	uint8_t netfn, lun, command, code;
	const void *data;
	size_t size;
	int r = sd_bus_message_enter_container(m, 'r', "yyyyay");
	if (r >= 0)
		r = sd_bus_message_read(m, "yyyy", &netfn, &lun, &command, &code);
	if (r >= 0)
		r = sd_bus_message_read_array(m, 'y', &data, &size);
	if (r < 0)
		return r;
	if (size > MAX_FRAME - *end - 1)
		return -EMSGSIZE;
	frame[DATA] = code;
	if (size > 0)
		memcpy(frame + *end, data, size);
	*end += size;
	return 0;
}

static int executed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	uint8_t frame[MAX_FRAME];
	size_t end = begin_answer(frame, userdata);
	(void)error;
	if (!sd_bus_message_is_method_error(m, NULL))
		(void)read_reply(m, frame, &end); /* else the answer is CC_UNSPECIFIED */
	send_frame(frame, end);
	return 1;
}

static int append_request(sd_bus_message *m, const uint8_t *frame, size_t size)
{
	int r = sd_bus_message_append(m, "yyy", frame[NETFN] >> 2, frame[NETFN] & 3, frame[COMMAND]);
	if (r >= 0)
		r = sd_bus_message_append_array(m, 'y', frame + DATA, size - DATA - 1);
	if (r >= 0)
		r = sd_bus_message_append(m, "a{sv}", 2, "rqSA", "i", (int32_t)(frame[SOURCE] >> 1), "hostId", "i", (int32_t)0);
	return r;
}

static void take_request(sd_bus *bus, const uint8_t *frame, size_t size)
{
	sd_bus_message *m = NULL;
	if (size < DATA + 1 || (frame[NETFN] >> 2 & 1) != 0 || checksum(frame, 3) != 0 ||
	    checksum(frame + SOURCE, size - SOURCE) != 0)
		return;
	int r = sd_bus_message_new_method_call(bus, &m, HOST_NAME, HOST_PATH, HOST_INTERFACE, "execute");
	if (r >= 0)
		r = sd_bus_message_set_auto_start(m, false);
	if (r >= 0)
		r = append_request(m, frame, size);
	if (r >= 0)
		r = sd_bus_call_async(bus, NULL, m, executed, to_userdata(frame), 0);
	if (r < 0)
		die("execute", r);
	sd_bus_message_unref(m);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	connect_node(argv[2]);
	sd_bus *bus = connect_bus(argv[1]);
	say_ready();
	loop(bus, take_request);
}
