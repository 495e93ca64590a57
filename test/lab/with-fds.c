/*
 * with-fds TAP... -- COMMAND...: runs a command with open taps, the first as descriptor 3. A name with a slash is a file to be
 * opened (a macvtap's device), any other a queue of that tap; a name given N times gives N queues.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int open_tap(const char *name, int queues)
{
	int fd = open("/dev/net/tun", O_RDWR);
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

	if (queues > 1)
		request.ifr_flags |= IFF_MULTI_QUEUE;
	strncpy(request.ifr_name, name, sizeof(request.ifr_name) - 1);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
		err(1, "%s", name);
	return fd;
}

static int times(const char *name, int count, char *const names[])
{
	int found = 0;

	for (int i = 0; i < count; i++)
		found += strcmp(name, names[i]) == 0;
	return found;
}

int main(int argc, char *argv[])
{
	char *const *names = argv + 1;
	int count = 0;

	while (count + 1 < argc && strcmp(names[count], "--") != 0)
		count++;
	if (count + 2 >= argc)
		errx(2, "usage: with-fds TAP... -- COMMAND...");
	for (int i = 0; i < count; i++) {
		int fd = strchr(names[i], '/') ? open(names[i], O_RDWR) : open_tap(names[i], times(names[i], count, names));

		if (fd < 0)
			err(1, "%s", names[i]);
		if (fd != 3 + i && (dup2(fd, 3 + i) < 0 || close(fd) < 0))
			err(1, "dup2");
	}
	execvp(argv[count + 2], argv + count + 2);
	err(1, "%s", argv[count + 2]);
}
