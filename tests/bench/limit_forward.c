/*
 * limit_forward - the floor that forwarding connections cannot go below.
 *
 * One process and one epoll loop: it accepts, connects to the one target, and
 * moves bytes both ways until both sides have ended; half-close is kept.
 * Nothing else: no configuration, no log, no limits, no time-outs.
 *
 *   limit_forward PORT TARGET
 *
 * Both ports are on 127.0.0.1.  All connections share one buffer.  What the
 * other side does not take waits in a pipe; pipes come from a small pool and
 * go back to it when they are empty.  So an idle connection has two sockets
 * and nothing else.  (With splice(2) in the place of the buffer one CPU moved
 * 12 % fewer requests and 8 % fewer bytes.)
 * Build: musl-gcc -static -Os -s limit_forward.c -o limit_forward
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX 8192			/* descriptors */
#define CHUNK (64 * 1024)		/* bytes of one read; a pipe holds as many */
#define TURNS 16			/* chunks of one side before the others */
#define POOL 64				/* pipes kept for later */

struct half {				/* one direction: from a descriptor to its peer */
	int peer;			/* 0: not in use */
	int pipe[2];			/* 0: none */
	int waiting;			/* bytes in the pipe */
	char eof, stopped, want_out;	/* want_out: of this descriptor, to write to it */
};

static struct half halves[MAX];		/* by the descriptor that is read */
static int pool[POOL][2], pooled;
static int ep;
static char buf[CHUNK];			/* of all connections */

static void watch(int fd, int op)
{
	struct half *x = &halves[fd];
	struct epoll_event ev = { .data.fd = fd };

	if (!x->stopped && !x->eof)
		ev.events |= EPOLLIN;
	if (x->want_out)
		ev.events |= EPOLLOUT;
	epoll_ctl(ep, op, fd, &ev);
}

static int take_pipe(struct half *x)
{
	if (x->pipe[0])
		return 0;
	if (!pooled)
		return pipe2(x->pipe, O_NONBLOCK | O_CLOEXEC);
	memcpy(x->pipe, pool[--pooled], sizeof x->pipe);
	return 0;
}

static void give_pipe(struct half *x)
{
	if (!x->pipe[0])
		return;
	if (!x->waiting && pooled < POOL) {
		memcpy(pool[pooled++], x->pipe, sizeof x->pipe);
	} else {
		close(x->pipe[0]);
		close(x->pipe[1]);
	}
	x->pipe[0] = x->pipe[1] = 0;
}

/* Ends the connection, both halves of it. */
static void end(int a)
{
	int b = halves[a].peer;

	give_pipe(&halves[a]);
	give_pipe(&halves[b]);
	halves[a].peer = halves[b].peer = 0;
	close(a);
	close(b);
}

/* Reads once and writes to the peer; what that does not take goes to the pipe.
   The result is that of read(2), or -1 if the peer is gone. */
static ssize_t copy(struct half *x, int from)
{
	ssize_t w, r = read(from, buf, sizeof buf);

	if (r <= 0)
		return r;
	w = write(x->peer, buf, r);
	if (w < 0 && errno != EAGAIN)
		return -1;
	if (w < 0)
		w = 0;
	if (w < r) {
		x->waiting = r - w;
		if (take_pipe(x) < 0 || write(x->pipe[1], buf + w, r - w) != r - w) {
			errno = ENOBUFS;
			return -1;
		}
	}
	return r;
}

/* Moves what descriptor a has to its peer.  -1: the connection has ended. */
static int pump(int a)
{
	struct half *x = &halves[a];
	int b = x->peer, changed = 0;
	ssize_t r;

	for (int turn = 0; turn < TURNS; turn++) {
		if (!x->waiting) {
			if (x->eof)
				break;
			r = copy(x, a);
			if (r < 0 && errno == EAGAIN)
				break;
			if (r < 0)
				return end(a), -1;
			if (r == 0) {
				shutdown(b, SHUT_WR);
				if (halves[b].eof)
					return end(a), -1;
				x->eof = changed = 1;
				break;
			}
			if (!x->waiting) {
				if (r < CHUNK)
					break;		/* that was all: no second read */
				continue;
			}
		}
		r = splice(x->pipe[0], 0, b, 0, x->waiting, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		if (r < 0 && errno != EAGAIN)
			return end(a), -1;
		if (r > 0)
			x->waiting -= r;
		if (x->waiting) {			/* goes on when b takes more */
			x->stopped = halves[b].want_out = 1;
			watch(a, EPOLL_CTL_MOD);
			watch(b, EPOLL_CTL_MOD);
			return 0;
		}
	}
	if (x->stopped) {
		x->stopped = halves[b].want_out = 0;
		watch(b, EPOLL_CTL_MOD);
		changed = 1;
	}
	if (changed)
		watch(a, EPOLL_CTL_MOD);
	if (!x->waiting)
		give_pipe(x);
	return 0;
}

static int tcp(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static void accept_one(int listener, const struct sockaddr_in *target)
{
	int one = 1, b, a = accept4(listener, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (a < 0)
		return;
	b = tcp();
	if (b < 0 || a >= MAX || b >= MAX ||
	    (connect(b, (const void *)target, sizeof *target) < 0 && errno != EINPROGRESS)) {
		close(a);
		if (b >= 0)
			close(b);
		return;
	}
	setsockopt(a, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(b, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	halves[a] = (struct half){ .peer = b };
	halves[b] = (struct half){ .peer = a };
	watch(a, EPOLL_CTL_ADD);
	watch(b, EPOLL_CTL_ADD);
}

static void ready(int fd, unsigned events)
{
	if (!halves[fd].peer)
		return;				/* ended earlier in this turn */
	if (events & EPOLLERR) {
		end(fd);
		return;
	}
	if ((events & EPOLLOUT) && halves[fd].want_out && pump(halves[fd].peer) < 0)
		return;
	if ((events & (EPOLLIN | EPOLLHUP)) && !halves[fd].stopped)
		pump(fd);
}

int main(int argc, char **argv)
{
	struct sockaddr_in here = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	}, target = here;
	struct epoll_event ev[64];
	int one = 1, listener;

	if (argc != 3)
		return 100;
	here.sin_port = htons(atoi(argv[1]));
	target.sin_port = htons(atoi(argv[2]));
	signal(SIGPIPE, SIG_IGN);
	ep = epoll_create1(EPOLL_CLOEXEC);
	listener = tcp();
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (void *)&here, sizeof here) < 0 || listen(listener, 4096) < 0)
		return 111;
	watch(listener, EPOLL_CTL_ADD);
	for (;;) {
		int k = epoll_wait(ep, ev, 64, -1);

		for (int e = 0; e < k; e++) {
			if (ev[e].data.fd == listener)
				accept_one(listener, &target);
			else
				ready(ev[e].data.fd, ev[e].events);
		}
	}
}
