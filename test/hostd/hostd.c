//go:build ignore

/*
 * hostd - a host IPMI daemon for tests
 *
 * It plays openbmc/phosphor-host-ipmid on D-Bus: the same name, object and
 * method, on sd-bus, with sd-bus's check of callers: the vtable has no
 * SD_BUS_VTABLE_UNPRIVILEGED, so a caller must be uid 0 or hostd's own user.
 * What it answers is in answer_request; hostd.go tells the tests.
 */
#include "sdbus.h"
#include <getopt.h>
#include <inttypes.h>
#include <systemd/sd-event.h>

#define BUS_NAME "xyz.openbmc_project.Ipmi.Host"
#define PATH "/xyz/openbmc_project/Ipmi"
#define INTERFACE "xyz.openbmc_project.Ipmi.Server"
#define ERROR_NAME "xyz.openbmc_project.Common.Error.InternalFailure"

enum { NETFN_APP = 0x06, NETFN_TEST = 0x30 };
enum { CMD_GET_DEVICE_ID = 0x01 };

/* Commands of NETFN_TEST. */
enum {
	CMD_ECHO = 0x01,            /* what arrived: see append_echo */
	CMD_DELAY = 0x02,           /* data: milliseconds, LSB first, then the answer's data */
	CMD_CODE = 0x03,            /* data: the completion code */
	CMD_LONG = 0x04,            /* data: how many bytes to answer, LSB first */
	CMD_DBUS_ERROR = 0x10,
	CMD_EVEN_NETFN = 0x11,      /* the answer has the request's network function */
	CMD_SILENCE = 0x12,
	CMD_EXIT = 0x13,            /* without an answer */
};

enum { CC_OK = 0x00, CC_INVALID_COMMAND = 0xC1, CC_LENGTH_INVALID = 0xC7 };

enum { MAX_DATA = 1024 };

struct request {
	uint8_t netfn, lun, cmd;
	const uint8_t *data;
	size_t size;
	/* Options: presence, then values. */
	bool has_rqsa, has_host;
	int32_t rqsa, host;
	unsigned int others;
};

struct answer {
	uint8_t netfn, lun, cmd, cc;
	uint8_t data[MAX_DATA];
	size_t size;
	uint64_t delay_us;
};

/* A postponed answer. */
struct pending {
	sd_bus_message *call;
	struct answer answer;
};

static bool print_requests;
static bool wrong_signature;
static uint64_t delay_us; /* of every answer */

static void *must_allocate(size_t size)
{
	void *p = calloc(1, size);
	if (p == NULL)
		die("memory", -ENOMEM);
	return p;
}

static unsigned int le16(const uint8_t *b) { return b[0] | b[1] << 8; }

/* An option that the real daemon reads is of its exact type or an error. */
static int read_int32_option(sd_bus_message *m, bool *present, int32_t *value)
{
	*present = true;
	return sd_bus_message_read(m, "v", "i", value);
}

static int read_option(sd_bus_message *m, struct request *req)
{
	const char *key;
	int r = sd_bus_message_read(m, "s", &key);
	if (r < 0)
		return r;
	if (strcmp(key, "rqSA") == 0)
		return read_int32_option(m, &req->has_rqsa, &req->rqsa);
	if (strcmp(key, "hostId") == 0)
		return read_int32_option(m, &req->has_host, &req->host);
	req->others++;
	return sd_bus_message_skip(m, "v");
}

static int read_options(sd_bus_message *m, struct request *req)
{
	int r = sd_bus_message_enter_container(m, 'a', "{sv}");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		if ((r = read_option(m, req)) < 0)
			return r;
		if ((r = sd_bus_message_exit_container(m)) < 0)
			return r;
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_request(sd_bus_message *m, struct request *req)
{
	const void *data;
	int r = sd_bus_message_read(m, "yyy", &req->netfn, &req->lun, &req->cmd);
	if (r < 0)
		return r;
	if ((r = sd_bus_message_read_array(m, 'y', &data, &req->size)) < 0)
		return r;
	req->data = data;
	return read_options(m, req);
}

/* One line of JSON, as struct Request in hostd.go has it. */
static void print_request(sd_bus_message *m, const struct request *req)
{
	printf("{\"sender\":\"%s\",\"netFn\":%u,\"lun\":%u,\"command\":%u", sd_bus_message_get_sender(m),
	       req->netfn, req->lun, req->cmd);
	if (req->has_rqsa)
		printf(",\"rqSA\":%" PRId32, req->rqsa);
	if (req->has_host)
		printf(",\"hostId\":%" PRId32, req->host);
	printf(",\"others\":%u,\"data\":\"", req->others);
	for (size_t i = 0; i < req->size; i++)
		printf("%02x", req->data[i]);
	puts("\"}");
	fflush(stdout);
}

static void append(struct answer *a, const void *data, size_t size)
{
	if (size > sizeof(a->data) - a->size)
		size = sizeof(a->data) - a->size;
	if (size > 0)
		memcpy(a->data + a->size, data, size);
	a->size += size;
}

static void append_int32(struct answer *a, int32_t value)
{
	uint32_t v = (uint32_t)value;
	append(a, (uint8_t[]){v, v >> 8, v >> 16, v >> 24}, 4);
}

/*
 *	0 netFn   1 LUN   2 command   3 options: bit 0 rqSA, bit 1 hostId, bit 7 others
 *	4 rqSA, 8 hostId: four bytes each, LSB first, 0 when absent   12 the data
 */
static void append_echo(struct answer *a, const struct request *req)
{
	uint8_t options = req->has_rqsa | req->has_host << 1 | (req->others > 0) << 7;
	append(a, (uint8_t[]){req->netfn, req->lun, req->cmd, options}, 4);
	append_int32(a, req->rqsa);
	append_int32(a, req->host);
	append(a, req->data, req->size);
}

static void append_device_id(struct answer *a)
{
	append(a, (uint8_t[]){0x50, 0x01, 0x04, 0x00, 0x02, 0x21, 0x57, 0x01, 0x00, 0x0B, 0x0B}, 11);
}

static void append_long(struct answer *a, const struct request *req)
{
	uint8_t counted[MAX_DATA];
	for (size_t i = 0; i < sizeof(counted); i++)
		counted[i] = (uint8_t)i;
	append(a, counted, le16(req->data) < sizeof(counted) ? le16(req->data) : sizeof(counted));
}

static int reply(sd_bus_message *call, const struct answer *a)
{
	sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_return(call, &m);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'r', "yyyyay");
	if (r >= 0)
		r = sd_bus_message_append(m, "yyyy", a->netfn, a->lun, a->cmd, a->cc);
	if (r >= 0)
		r = sd_bus_message_append_array(m, 'y', a->data, a->size);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	if (r >= 0)
		r = sd_bus_send(NULL, m, NULL);
	sd_bus_message_unref(m);
	return r;
}

static int reply_now(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct pending *p = userdata;
	(void)usec;
	int r = reply(p->call, &p->answer);
	if (r < 0)
		die("late answer", r);
	sd_bus_message_unref(p->call);
	free(p);
	sd_event_source_unref(s);
	return 0;
}

static int reply_later(sd_bus_message *call, const struct answer *a)
{
	sd_event_source *source;
	struct pending *p = must_allocate(sizeof(*p));
	p->call = sd_bus_message_ref(call);
	p->answer = *a;
	int r = sd_event_add_time_relative(sd_bus_get_event(sd_bus_message_get_bus(call)), &source,
					   CLOCK_MONOTONIC, a->delay_us, 1, reply_now, p);
	if (r < 0)
		die("timer", r);
	return 1;
}

/* Returns 0 when the request asks for an answer. */
static int misbehave(const struct request *req, sd_bus_error *error)
{
	if (req->netfn != NETFN_TEST)
		return 0;
	switch (req->cmd) {
	case CMD_DBUS_ERROR:
		return sd_bus_error_set(error, ERROR_NAME, "as the request asked");
	case CMD_SILENCE:
		return 1;
	case CMD_EXIT:
		exit(EXIT_SUCCESS);
	}
	return 0;
}

static void answer_test_command(struct answer *a, const struct request *req)
{
	static const size_t least[256] = {[CMD_DELAY] = 2, [CMD_CODE] = 1, [CMD_LONG] = 2};
	if (req->size < least[req->cmd]) {
		a->cc = CC_LENGTH_INVALID;
		return;
	}
	switch (req->cmd) {
	case CMD_ECHO:
		append_echo(a, req);
		break;
	case CMD_DELAY:
		a->delay_us = le16(req->data) * UINT64_C(1000);
		append(a, req->data + 2, req->size - 2);
		break;
	case CMD_CODE:
		a->cc = req->data[0];
		break;
	case CMD_LONG:
		append_long(a, req);
		break;
	case CMD_EVEN_NETFN:
		a->netfn = req->netfn;
		break;
	default:
		a->cc = CC_INVALID_COMMAND;
	}
}

static struct answer answer_request(const struct request *req)
{
	struct answer a = {
		.netfn = req->netfn | 1, .lun = req->lun, .cmd = req->cmd, .cc = CC_OK, .delay_us = delay_us,
	};
	if (req->netfn == NETFN_TEST)
		answer_test_command(&a, req);
	else if (req->netfn == NETFN_APP && req->cmd == CMD_GET_DEVICE_ID)
		append_device_id(&a);
	else
		a.cc = CC_INVALID_COMMAND;
	return a;
}

static int execute(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct request req = {0};
	(void)userdata;
	int r = read_request(m, &req);
	if (r < 0)
		return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "arguments: %s", strerror(-r));
	if (print_requests)
		print_request(m, &req);
	if ((r = misbehave(&req, error)) != 0)
		return r;
	struct answer a = answer_request(&req);
	if (a.delay_us > 0)
		return reply_later(m, &a);
	return reply(m, &a);
}

static int execute_wrong(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	(void)userdata, (void)error;
	return sd_bus_reply_method_return(m, "s", "not what was asked for");
}

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("execute", "yyyaya{sv}", "(yyyyay)", execute, 0),
	SD_BUS_VTABLE_END,
};

/* sd-bus holds a method to the signature it was declared with. */
static const sd_bus_vtable wrong_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("execute", "yyyaya{sv}", "s", execute_wrong, 0),
	SD_BUS_VTABLE_END,
};

static void serve(sd_bus *bus, const char *registered)
{
	sd_event *event = NULL;
	int r = sd_event_default(&event);
	if (r >= 0)
		r = sd_bus_add_object_vtable(bus, NULL, PATH, INTERFACE,
					     wrong_signature ? wrong_vtable : vtable, NULL);
	if (r < 0)
		die(INTERFACE, r);
	if (registered)
		register_handler(bus, PATH, registered);
	else
		own_name(bus, BUS_NAME);
	say_ready();
	sd_bus_set_exit_on_disconnect(bus, true);
	r = sd_bus_attach_event(bus, event, SD_EVENT_PRIORITY_NORMAL);
	if (r >= 0)
		r = sd_event_loop(event);
	if (r < 0)
		die("event loop", r);
}

static void usage(void)
{
	fputs("usage: hostd [--delay-ms N] [--print] [--wrong-signature] [--register NETFN,CMD,CHANNELS] ADDRESS\n",
	      stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"delay-ms", required_argument, NULL, 'd'},
		{"print", no_argument, NULL, 'p'},
		{"register", required_argument, NULL, 'r'},
		{"wrong-signature", no_argument, NULL, 'w'},
		{0},
	};
	const char *registered = NULL;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case 'd':
			delay_us = strtoull(optarg, NULL, 10) * 1000;
			break;
		case 'p':
			print_requests = true;
			break;
		case 'r':
			registered = optarg;
			break;
		case 'w':
			wrong_signature = true;
			break;
		default:
			usage();
		}
	}
	if (argc - optind != 1)
		usage();
	serve(connect_bus(argv[optind]), registered);
	return EXIT_SUCCESS;
}
