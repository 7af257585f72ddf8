/*
 * loop.h - one thread that serves a message bus and a socket bus: sd-bus hands
 * D-Bus messages to their callbacks, and the loop hands frames to a function.
 */
enum { BMC = 0x20, RESPONDER = 0x2C };
enum { MAX_FRAME = 264 };
enum { SEQUENCE_NUMBERS = 64 };

/*
 *	0 rsSA   1 netFn<<2|rsLUN   2 checksum   3 rqSA   4 seq<<2|rqLUN   5 command   6 data, checksum
 * An answer has the requester first, and its completion code before the data
 * (IPMB v1.0, section 2.11).
 */
enum { NETFN = 1, SOURCE = 3, SEQUENCE = 4, COMMAND = 5, DATA = 6 };

static uint8_t checksum(const uint8_t *b, size_t size)
{
	uint8_t sum = 0;
	while (size-- > 0)
		sum += *b++;
	return -sum;
}

static int node; /* the socket bus: SOCK_SEQPACKET, one packet is one frame */

static void connect_node(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	node = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (node < 0 || connect(node, (struct sockaddr *)&address, sizeof(address)) < 0)
		die(path, -errno);
}

/* Sends a frame that wants only its checksums. */
static void send_frame(uint8_t *frame, size_t size)
{
	frame[2] = checksum(frame, 2);
	frame[size] = checksum(frame + SOURCE, size - SOURCE);
	if (send(node, frame, size + 1, 0) < 0)
		die("bus", -errno);
}

/* How long poll may wait: until the next call of sd-bus times out. */
static int poll_timeout(sd_bus *bus)
{
	struct timespec now;
	uint64_t until;
	if (sd_bus_get_timeout(bus, &until) <= 0 || until == UINT64_MAX)
		return -1;
	clock_gettime(CLOCK_MONOTONIC, &now);
	uint64_t us = now.tv_sec * UINT64_C(1000000) + now.tv_nsec / 1000;
	return until <= us ? 0 : (int)((until - us) / 1000 + 1);
}

static void loop(sd_bus *bus, void (*take)(sd_bus *bus, const uint8_t *frame, size_t size))
{
	uint8_t frame[MAX_FRAME];
	for (;;) {
		int r;
		while ((r = sd_bus_process(bus, NULL)) > 0)
			;
		if (r < 0)
			die("message bus", r);
		ssize_t size;
		while ((size = recv(node, frame, sizeof(frame), MSG_DONTWAIT)) > 0)
			take(bus, frame, size);
		if (size == 0 || errno != EAGAIN)
			exit(EXIT_SUCCESS); /* the other end has gone */
		struct pollfd fds[] = {{sd_bus_get_fd(bus), sd_bus_get_events(bus), 0}, {node, POLLIN, 0}};
		if (poll(fds, 2, poll_timeout(bus)) < 0 && errno != EINTR)
			die("poll", -errno);
	}
}
