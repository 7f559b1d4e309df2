/* Faults in the system calls of a program, for the fault walk: loaded by LD_PRELOAD.
 *
 * Calls that touch files under one of the folders in FAULTS_UNDER (separated by ':') are numbered over all threads, and
 * written one a line to FAULTS_LOG: number, kind, result, inode, path, second path. (strace's own fault injection counts
 * for each thread by itself, and which thread takes a job is chance.)
 *
 *   FAULTS_AT=N          the N-th of them is the one to fail
 *   FAULTS_ERRNO=NUMBER  with this errno, and is not made; 0 means SIGKILL before it
 *   FAULTS_NO_SYNC=1     fsync and fdatasync do nothing and say that all is well: the planted fault
 *   FAULTS_KEEP=FOLDER   a file whose name goes is linked there under its inode's number, so that a power cut can bring
 *                        it back; a process of its own does that, because the daemon soon may not
 *
 * One lock around each call keeps the log in the order of what happened. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *paths[65536]; /* of open files under the folders, by descriptor */
static long count, at, error, no_sync;
static int log_file = -1;
static int linker = -1; /* our end of the process that links */
static const char *under, *keep;

/* Links as it is told, FROM and TO with a zero behind each, until the program is gone. */
static void start_linker(void) {
    int ends[2];
    if (!keep || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) return;
    if (fork()) {
        syscall(SYS_close, ends[1]);
        linker = ends[0];
        return;
    }
    syscall(SYS_close, ends[0]);
    char order[2 * PATH_MAX];
    while (recv(ends[1], order, sizeof order, 0) > 0) {
        syscall(SYS_linkat, AT_FDCWD, order, AT_FDCWD, order + strlen(order) + 1, 0);
        send(ends[1], "", 1, MSG_NOSIGNAL);
    }
    _exit(0);
}

__attribute__((constructor)) static void begin(void) {
    const char *value;
    under = getenv("FAULTS_UNDER");
    keep = getenv("FAULTS_KEEP");
    at = (value = getenv("FAULTS_AT")) ? atol(value) : 0;
    error = (value = getenv("FAULTS_ERRNO")) ? atol(value) : 0;
    no_sync = getenv("FAULTS_NO_SYNC") != NULL;
    value = getenv("FAULTS_LOG");
    if (value) log_file = syscall(SYS_openat, AT_FDCWD, value, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    start_linker();
}

static int is_ours(const char *path) {
    for (const char *folder = under; path && folder && *folder;) {
        const char *end = strchrnul(folder, ':');
        size_t length = end - folder;
        if (!strncmp(path, folder, length) && (path[length] == '/' || !path[length])) return 1;
        folder = *end ? end + 1 : end;
    }
    return 0;
}

static const char *path_of(int fd) { return fd >= 0 && fd < 65536 ? paths[fd] : NULL; }

static unsigned long inode_of(const char *path) {
    struct stat found;
    return path && !lstat(path, &found) ? found.st_ino : 0;
}

/* Whether the call is to be made. */
static int may_go_on(void) {
    if (++count != at) return 1;
    errno = error;
    return 0;
}

static long note(const char *kind, long result, unsigned long inode, const char *path, const char *second) {
    int saved = errno;
    char line[2 * PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%ld %s %ld %lu %s %s\n", count, kind, result, inode, path, second ? second : "");
    if (log_file >= 0) syscall(SYS_write, log_file, line, length);
    /* Noted, and not made. */
    if (count == at && !error) syscall(SYS_kill, getpid(), SIGKILL), pause();
    errno = saved;
    return result;
}

/* The name at `path` goes: what it names may come back. */
static void keep_file(const char *path) {
    char order[2 * PATH_MAX], done;
    unsigned long inode = inode_of(path);
    if (linker < 0 || !inode) return;
    int length = snprintf(order, sizeof order, "%s%c%s/%lu", path, 0, keep, inode);
    if (send(linker, order, length + 1, MSG_NOSIGNAL) > 0) recv(linker, &done, 1, 0);
}

static int open_at(int folder, const char *path, int flags, mode_t mode) {
    if (folder != AT_FDCWD || !is_ours(path)) return syscall(SYS_openat, folder, path, flags, mode);
    pthread_mutex_lock(&lock);
    const char *kind = "open";
    if (flags & O_CREAT && !inode_of(path)) kind = "create";
    else if (flags & O_TRUNC) kind = "truncate";
    int fd = may_go_on() ? syscall(SYS_openat, folder, path, flags, mode) : -1;
    if (fd >= 0 && fd < 65536) free(paths[fd]), paths[fd] = strdup(path);
    note(kind, fd < 0 ? -1 : 0, inode_of(path), path, NULL);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags) va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest)
int open(const char *path, int flags, ...) { MODE(flags); return open_at(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags); return open_at(AT_FDCWD, path, flags, mode); }
int openat(int fd, const char *path, int flags, ...) { MODE(flags); return open_at(fd, path, flags, mode); }
int openat64(int fd, const char *path, int flags, ...) { MODE(flags); return open_at(fd, path, flags, mode); }

/* Calls on a descriptor. `made` is the call itself. */
#define ON_FILE(kind, fd, made)                                  \
    const char *path = path_of(fd);                              \
    if (!path) return made;                                      \
    pthread_mutex_lock(&lock);                                   \
    long result = may_go_on() ? made : -1;                       \
    struct stat found;                                           \
    int saved = errno;                                           \
    note(kind, result < 0 ? -1 : 0, fstat(fd, &found) ? 0 : found.st_ino, path, NULL); \
    errno = saved;                                               \
    pthread_mutex_unlock(&lock);                                 \
    return result

ssize_t write(int fd, const void *octets, size_t length) { ON_FILE("write", fd, syscall(SYS_write, fd, octets, length)); }
ssize_t pwrite64(int fd, const void *octets, size_t length, off64_t where) {
    ON_FILE("write", fd, syscall(SYS_pwrite64, fd, octets, length, where));
}
int ftruncate64(int fd, off64_t length) { ON_FILE("write", fd, syscall(SYS_ftruncate, fd, length)); }
int fsync(int fd) { ON_FILE(no_sync ? "nosync" : "fsync", fd, no_sync ? 0 : syscall(SYS_fsync, fd)); }
int fdatasync(int fd) { ON_FILE(no_sync ? "nosync" : "fdatasync", fd, no_sync ? 0 : syscall(SYS_fdatasync, fd)); }

int close(int fd) {
    if (path_of(fd)) {
        pthread_mutex_lock(&lock);
        free(paths[fd]);
        paths[fd] = NULL;
        pthread_mutex_unlock(&lock);
    }
    return syscall(SYS_close, fd);
}

int rename(const char *from, const char *to) {
    if (!is_ours(from) && !is_ours(to)) return syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    pthread_mutex_lock(&lock);
    unsigned long inode = inode_of(from);
    int result = -1;
    if (may_go_on()) {
        keep_file(to);
        result = syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    }
    note("rename", result, inode, from, to);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) {
    if (!is_ours(path)) return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    pthread_mutex_lock(&lock);
    unsigned long inode = inode_of(path);
    int result = -1;
    if (may_go_on()) {
        keep_file(path);
        result = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    }
    note("unlink", result, inode, path, NULL);
    pthread_mutex_unlock(&lock);
    return result;
}
