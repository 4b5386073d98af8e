/* A clock that lies by as many seconds as the mapped file YEAR_CLOCK says (an int64): for LD_PRELOAD.
 *
 * Only the time of day is moved. Timers and waits keep the real one: a deadline that was made from the moved time of day
 * is moved back before the kernel sees it (deadlines of the monotonic clock are small numbers, and pass as they are).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *moved;

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("YEAR_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, sizeof *moved, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) moved = page;
    close(file);
}

static int64_t seconds(void) { return moved ? *moved : 0; }
static int is_day(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

int clock_gettime(clockid_t clock, struct timespec *now) {
    int done = syscall(SYS_clock_gettime, clock, now);
    if (!done && is_day(clock)) now->tv_sec += seconds();
    return done;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int done = syscall(SYS_gettimeofday, now, zone);
    if (!done && now) now->tv_sec += seconds();
    return done;
}

time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}

static struct timespec real(const struct timespec *deadline) {
    struct timespec found = *deadline;
    if (found.tv_sec > 1000000000) found.tv_sec -= seconds();
    return found;
}

#define WAIT(name, kind)                                                                  \
    int name(kind *on, const struct timespec *restrict deadline) {                        \
        int (*next)(kind *, const struct timespec *) = dlsym(RTLD_NEXT, #name);           \
        struct timespec until = real(deadline);                                           \
        return next(on, &until);                                                          \
    }
WAIT(sem_timedwait, sem_t)
WAIT(pthread_mutex_timedlock, pthread_mutex_t)

int pthread_cond_timedwait(pthread_cond_t *on, pthread_mutex_t *lock, const struct timespec *deadline) {
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!next) next = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    struct timespec until = real(deadline);
    return next(on, lock, &until);
}
