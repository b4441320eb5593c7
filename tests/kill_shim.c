/* Preloaded into a writer: counts the calls that change a disk and ends the process at one of them.
 *
 * kill_arm(n, mode): the n-th such call from now is the last thing that happens: mode 0 before it, 1 halfway
 * (a write that wrote its first half), 2 after it. 3 kills nobody: a write is short, half of it is done and said to
 * be. n = 0: only count. What was called since lies in memory
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

enum { BEFORE, HALFWAY, AFTER, SHORT, CALLS_MAX = 4096, NAME_MAX_ = 16 };

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

#define WRAP(name, label, parameters, arguments)                    \
    int name parameters {                                           \
        int fatal = reached(label) && how != SHORT;                 \
        if (fatal && how != AFTER) die();                           \
        int done = REAL(name) arguments;                            \
        if (fatal) die();                                           \
        return done;                                                \
    }

/* half: the first half of the write. */
#define WRAP_WRITE(name, label, parameters, arguments, half)        \
    ssize_t name parameters {                                       \
        typeof(&name) real = REAL(name);                            \
        int fatal = reached(label);                                 \
        if (fatal && how == BEFORE) die();                          \
        if (fatal && how == HALFWAY) { half; die(); }               \
        if (fatal && how == SHORT) return ({ half; });              \
        ssize_t done = real arguments;                              \
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

WRAP_WRITE(write, "write", (int fd, const void *from, size_t size), (fd, from, size), real(fd, from, size / 2))
WRAP_WRITE(pwrite, "pwrite", (int fd, const void *from, size_t size, off_t at), (fd, from, size, at),
     real(fd, from, size / 2, at))
WRAP_WRITE(pwrite64, "pwrite", (int fd, const void *from, size_t size, off64_t at), (fd, from, size, at),
     real(fd, from, size / 2, at))
WRAP_WRITE(writev, "writev", (int fd, const struct iovec *all, int count), (fd, all, count),
     HALF_OF_ALL; real(fd, some, kept))
WRAP_WRITE(pwritev, "pwritev", (int fd, const struct iovec *all, int count, off_t at), (fd, all, count, at),
     HALF_OF_ALL; real(fd, some, kept, at))
WRAP_WRITE(pwritev64, "pwritev", (int fd, const struct iovec *all, int count, off64_t at), (fd, all, count, at),
     HALF_OF_ALL; real(fd, some, kept, at))
WRAP(fsync, "fsync", (int fd), (fd))
WRAP(fdatasync, "fdatasync", (int fd), (fd))
WRAP(ftruncate, "ftruncate", (int fd, off_t size), (fd, size))
WRAP(ftruncate64, "ftruncate", (int fd, off64_t size), (fd, size))
WRAP(rename, "rename", (const char *from, const char *to), (from, to))
WRAP(unlink, "unlink", (const char *path), (path))
WRAP(mkdir, "mkdir", (const char *path, mode_t mode), (path, mode))

#define OPEN(name)                                                  \
    int name(const char *path, int flags, ...) {                    \
        va_list more;                                               \
        va_start(more, flags);                                      \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;   \
        va_end(more);                                               \
        int fatal = flags & O_CREAT && reached("open") && how != SHORT;            \
        if (fatal && how != AFTER) die();                           \
        int done = REAL(name)(path, flags, mode);                   \
        if (fatal) die();                                           \
        return done;                                                \
    }
OPEN(open)
OPEN(open64)
