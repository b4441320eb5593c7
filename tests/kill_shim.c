/* Preloaded into a writer: counts the calls that change a disk and ends the process at one of them.
 *
 * kill_arm(n, mode): the n-th such call from now is the last thing that happens: mode 0 before it, 1 halfway
 * (a write that wrote its first half), 2 after it. n = 0: only count. What was called since lies in memory
 * shared with the parent, so that it outlives the process. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BEFORE, HALFWAY, AFTER, CALLS_MAX = 4096, NAME_MAX_ = 16 };

static struct { long calls; char names[CALLS_MAX][NAME_MAX_]; } *seen;
static long last;
static int how;
static int armed;

__attribute__((constructor)) static void begin(void) {
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

void kill_arm(long n, int mode) {
    seen->calls = 0;
    last = n;
    how = mode;
    armed = 1;
}

long kill_calls(void) { return seen->calls; }
const char *kill_name(long at) { return seen->names[at]; }

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Whether this call is the last one. */
static int reached(const char *name) {
    if (!armed) return 0;
    long at = seen->calls;
    if (at < CALLS_MAX) strncpy(seen->names[at], name, NAME_MAX_ - 1);
    seen->calls = at + 1;
    return seen->calls == last;
}

#define REAL(name) ({ static typeof(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })

/* half: what is done when the process ends in the middle of the call. */
#define WRAP(result, name, label, parameters, arguments, half)      \
    result name parameters {                                        \
        typeof(&name) real = REAL(name);                            \
        int fatal = reached(label);                                 \
        if (fatal && how == BEFORE) die();                          \
        if (fatal && how == HALFWAY) { half; die(); }               \
        result done = real arguments;                               \
        if (fatal) die();                                           \
        return done;                                                \
    }

static size_t first_half(const struct iovec *from, int count, struct iovec *to) {
    size_t all = 0;
    for (int at = 0; at < count; at++) all += from[at].iov_len;
    size_t rest = all / 2;
    int kept = 0;
    for (; kept < count && rest; kept++) {
        to[kept] = from[kept];
        if (to[kept].iov_len > rest) to[kept].iov_len = rest;
        rest -= to[kept].iov_len;
    }
    return kept;
}

#define HALF_OF_ALL struct iovec some[1024]; int kept = first_half(all, count, some)

WRAP(ssize_t, write, "write", (int fd, const void *from, size_t size), (fd, from, size), real(fd, from, size / 2))
WRAP(ssize_t, pwrite, "pwrite", (int fd, const void *from, size_t size, off_t at), (fd, from, size, at),
     real(fd, from, size / 2, at))
WRAP(ssize_t, pwrite64, "pwrite", (int fd, const void *from, size_t size, off64_t at), (fd, from, size, at),
     real(fd, from, size / 2, at))
WRAP(ssize_t, writev, "writev", (int fd, const struct iovec *all, int count), (fd, all, count),
     HALF_OF_ALL; real(fd, some, kept))
WRAP(ssize_t, pwritev, "pwritev", (int fd, const struct iovec *all, int count, off_t at), (fd, all, count, at),
     HALF_OF_ALL; real(fd, some, kept, at))
WRAP(ssize_t, pwritev64, "pwritev", (int fd, const struct iovec *all, int count, off64_t at), (fd, all, count, at),
     HALF_OF_ALL; real(fd, some, kept, at))
WRAP(int, fsync, "fsync", (int fd), (fd), )
WRAP(int, fdatasync, "fdatasync", (int fd), (fd), )
WRAP(int, ftruncate, "ftruncate", (int fd, off_t size), (fd, size), )
WRAP(int, ftruncate64, "ftruncate", (int fd, off64_t size), (fd, size), )
WRAP(int, rename, "rename", (const char *from, const char *to), (from, to), )
WRAP(int, unlink, "unlink", (const char *path), (path), )
WRAP(int, mkdir, "mkdir", (const char *path, mode_t mode), (path, mode), )

#define OPEN(name)                                                  \
    int name(const char *path, int flags, ...) {                    \
        va_list more;                                               \
        va_start(more, flags);                                      \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;   \
        va_end(more);                                               \
        int fatal = flags & O_CREAT ? reached("open") : 0;          \
        if (fatal && how != AFTER) die();                           \
        int done = REAL(name)(path, flags, mode);                   \
        if (fatal) die();                                           \
        return done;                                                \
    }
OPEN(open)
OPEN(open64)
