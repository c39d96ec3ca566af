/* A process that waits to be told to end. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static void quit(int signal)
{
	(void)signal;
	_exit(0);
}

int main(void)
{
	signal(SIGTERM, quit);
	signal(SIGINT, quit);
	for (;;)
		pause();
}
