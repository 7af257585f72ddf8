/*
 * floor.h - what the C programs of the bench share.
 */
#include "sdbus.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
