/*
 * broker PROGRAM SOCKET - runs dbus-broker as a message bus at a socket, on which
 * everybody may do everything. dbus-broker leaves listening and the policy to a
 * controller, which is systemd's dbus-broker-launch elsewhere. This one replaces
 * its process by dbus-broker, so that a child must be the controller: it gives the
 * socket and the policy, and then waits for the end.
 */
#include "floor.h"

#include <fcntl.h>

/* dbus-broker 33, src/bus/policy.c: what a user may connect, own, send, receive. */
#define BATCH "bt" "a(btbs)" "a(btssssuutt)" "a(btssssuutt)"
#define POLICY "a(u(" BATCH "))" "a(buu(" BATCH "))" "a(ss)" "bs"

static int append_policy(sd_bus_message *m)
{
	const uint64_t priority = 1;
	const uint32_t any_user = UINT32_MAX;
	return sd_bus_message_append(m, "v", "(" POLICY ")",
		1, any_user, true, priority,
		1, true, priority, true, "",
		1, true, priority, "", "", "", "", 0, 0, UINT64_C(0), UINT64_MAX,
		1, true, priority, "", "", "", "", 0, 0, UINT64_C(0), UINT64_MAX,
		0, 0, false, "session");
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, SOMAXCONN) < 0)
		die(path, -errno);
	return fd;
}

static void control(int fd, int listener)
{
	sd_bus *bus = NULL;
	sd_bus_message *m = NULL;
	sd_bus_error error = SD_BUS_ERROR_NULL;
	int r = sd_bus_new(&bus);
	if (r >= 0)
		r = sd_bus_set_fd(bus, fd, fd);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r >= 0)
		r = sd_bus_message_new_method_call(bus, &m, NULL, "/org/bus1/DBus/Broker", "org.bus1.DBus.Broker", "AddListener");
	if (r >= 0)
		r = sd_bus_message_append(m, "oh", "/org/bus1/DBus/Listener/0", listener);
	if (r >= 0)
		r = append_policy(m);
	if (r >= 0)
		r = sd_bus_call(bus, m, 0, &error, NULL);
	if (r < 0)
		die(error.message != NULL ? error.message : "dbus-broker", r);
	close(listener);
	say_ready();
	while (sd_bus_process(bus, NULL) >= 0 && sd_bus_wait(bus, UINT64_MAX) >= 0)
		;
}

int main(int argc, char **argv)
{
	int pair[2];
	char fd[16];
	if (argc != 3)
		return 2;
	int listener = listen_at(argv[2]);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		die("socketpair", -errno);
	pid_t child = fork();
	if (child < 0)
		die("fork", -errno);
	if (child == 0) {
		close(pair[1]);
		control(pair[0], listener);
		return EXIT_SUCCESS;
	}
	close(pair[0]);
	close(listener);
	fcntl(pair[1], F_SETFD, 0);
	snprintf(fd, sizeof(fd), "%d", pair[1]);
	execl(argv[1], argv[1], "--controller", fd, "--machine-id", "0123456789abcdef0123456789abcdef",
	      "--max-bytes", "1000000000", "--max-objects", "1000000", "--max-matches", "100000", "--max-fds", "10000", NULL);
	die(argv[1], -errno);
}
