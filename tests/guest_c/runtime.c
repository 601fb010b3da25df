/*
 * A program that updates its own static calls: C and C++, any kind of link.
 *
 * Usage: runtime [TEST...]. Prints ok, FAIL or skip for each test.
 */
#include "check.h"

#include <fcntl.h>
#if __has_include(<linux/seccomp.h>)
#include <linux/filter.h>
#include <linux/seccomp.h>
#define HAS_SECCOMP
#endif
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>

#ifdef __cplusplus
extern "C" {
#endif

static int one(int a)
{
	return 100 * a + 1;
}

static int two(int a)
{
	return 100 * a + 2;
}

DEFINE_STATIC_CALL(op, one);
DEFINE_STATIC_CALL(other, one);
DEFINE_STATIC_CALL_NULL(nothing, one);
DEFINE_STATIC_CALL_RET0(zero, one);

/* Call as others do, whatever the optimiser sees. */
static __attribute__((__noinline__)) int call(int a)
{
	return static_call(op)(a);
}

/* Where the calls of `op` lead, in this order: their number, what 5 gives, what the key holds. */
enum { ONE, TWO, FAR, FAR2, NOTHING, ZERO, TARGETS };
static const int RESULTS[] = { 501, 502, 503, 504, 5, 0 };
static function *far, *far2;

static int to(int target, unsigned int flags)
{
	switch (target) {
	case ONE:
		return static_call_update_flags(op, one, flags);
	case TWO:
		return static_call_update_flags(op, two, flags);
	case FAR:
		return static_call_update_flags(op, far, flags);
	case FAR2:
		return static_call_update_flags(op, far2, flags);
	case NOTHING:
		return static_call_update_flags(op, NULL, flags);
	default:
		return static_call_update_flags(op, __static_call_return0, flags);
	}
}

static void check_target(int target)
{
	function *const held[] = { one, two, far, far2, NULL };

	CHECK(call(5), RESULTS[target]);
	if (target == ZERO)
		CHECK(static_call_query(op)(5), 0);
	else
		CHECK(static_call_query(op) == held[target], 1);
}

static void transitions(void)
{
	CHECK(static_call(nothing)(5), 5);
	CHECK(static_call(zero)(5), 0);
	CHECK(static_call_query(nothing) == NULL, 1);
	CHECK(call(5), 501);
	for (int from = 0; from < TARGETS; from++)
		for (int next = 0; next < TARGETS; next++)
			for (unsigned int flags = 0; flags < 4; flags++) {
				CHECK(to(from, 0), 0);
				check_target(from);
				CHECK(to(next, flags), 0);
				check_target(next);
			}
	CHECK(static_call_update(nothing, two), 0);
	CHECK(static_call(nothing)(5), 502);
	CHECK(static_call_update(nothing, NULL), 0);
	CHECK(static_call_update(zero, two), 0);
	CHECK(static_call(zero)(5), 502);
	CHECK(static_call_update(zero, __static_call_return0), 0);
	CHECK(static_call(zero)(5), 0);
	CHECK(to(ONE, 0), 0);
}

/* Code written a moment ago, in a new page each time and in one page again and again. */
static void fresh_code(void)
{
	for (int number = 1; number < 200; number++) {
		function *f = write_function(number, NULL);

		CHECK(static_call_update(op, f), 0);
		CHECK(call(1), 100 + number);
		CHECK(to(ONE, 0), 0);
		munmap((void *)(uintptr_t)f, 4096);
	}
}

static void bad_input(void)
{
	struct static_call_key bad = STATIC_CALL_KEY(op);
	uintptr_t here = (uintptr_t)STATIC_CALL_TRAMP(op), at;

	for (int target = 0; target < TARGETS; target++) {
		CHECK(to(target, 0), 0);
		for (at = here; at < here + 36; at += 4)
			CHECK(static_call_update(op, (function *)at), EINVAL);
		for (at = 1; at < 4; at++)
			CHECK(static_call_update(op, (function *)((uintptr_t)two + at)), EINVAL);
		CHECK(static_call_update_flags(op, two, 4), EINVAL);
		check_target(target);
	}
	bad.tramp = (void (*)(void))one;
	CHECK(__static_call_update(&bad, bad.tramp, NULL, 0), ENOEXEC);
	CHECK(__static_call_synchronize(bad.tramp), ENOEXEC);
	bad.tramp = NULL;
	CHECK(__static_call_update(&bad, bad.tramp, NULL, 0), ENOEXEC);
	bad.tramp = (void (*)(void))(here + 4);
	CHECK(__static_call_update(&bad, bad.tramp, NULL, 0), ENOEXEC);
	/* A key that names another trampoline than the one that calls go to. */
	bad.tramp = (void (*)(void))STATIC_CALL_TRAMP(other);
	CHECK(__static_call_update(&bad, (void (*)(void))here, NULL, 0), ENOEXEC);
	CHECK(to(ONE, 0), 0);
}

/* ---- What a system may deny: nothing has changed, whatever it is. --------------------------- */

static void denied(int error)
{
	int before = RESULTS[ZERO];

	CHECK(static_call_update(op, two), error);
	CHECK(call(5), before);
	CHECK(static_call_query(op)(5), before);
	CHECK(STATIC_CALL_KEY(op).lock, 0);
}

static void no_descriptors(void)
{
	struct rlimit limit;

	static_call_close();
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = 0;
	setrlimit(RLIMIT_NOFILE, &limit);
	denied(EMFILE);
}

static void not_dumpable(void)
{
	static_call_close();
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (!geteuid() && setresuid(65534, 65534, 65534))
		abort();
	denied(EACCES);
}

static void no_proc(void)
{
	static_call_close();
	if (chroot("/usr")) {
		skipped = "needs root";
		return;
	}
	denied(ENOENT);
}

static int deny_call, deny_error;

/* Has the kernel deny it; 0 where that is not possible. */
static int deny(void)
{
#ifdef HAS_SECCOMP
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)deny_call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)deny_error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
#else
	return 0;
#endif
}

static void no_system_call(void)
{
	static_call_close();
	if (!deny()) {
		skipped = "no seccomp here";
		return;
	}
	denied(deny_error);
	CHECK(static_call_update_flags(op, two, STATIC_CALL_OLD_CODE), deny_error);
	CHECK(static_call_update_flags(op, two, STATIC_CALL_UNSETTLED), deny_error);
	CHECK(call(5), 0);
	if (deny_call == SYS_membarrier) {
		CHECK(to(TWO, STATIC_CALL_OLD_CODE | STATIC_CALL_UNSETTLED), 0);
		check_target(TWO);
	}
}

static void system_errors(void)
{
	CHECK(to(ZERO, 0), 0);
	CHECK(in_child(no_descriptors), 0);
	CHECK(in_child(not_dumpable), 0);
	if (!geteuid())
		CHECK(in_child(no_proc), 0);
	CHECK(to(ONE, 0), 0);
}

static void seccomp(void)
{
	const int calls[] = { SYS_membarrier, SYS_membarrier, SYS_openat, SYS_pwrite64 };
	const int errors[] = { EPERM, ENOSYS, EACCES, EPERM };

	CHECK(to(ZERO, 0), 0);
	for (int i = 0; i < 4; i++) {
		int status;

		deny_call = calls[i];
		deny_error = errors[i];
		status = in_child(no_system_call);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			skipped = "no seccomp here";
		else
			CHECK(status, 0);
	}
	CHECK(to(ONE, 0), 0);
}

/* ---- The file ------------------------------------------------------------------------------- */

static void files(void)
{
	int before, number, file;
	char text[2] = "";

	static_call_close();
	before = count_files();
	for (int i = 0; i < 20; i++) {
		CHECK(to(i % TARGETS, 0), 0);
		CHECK(count_files() <= before + 1, 1);
	}
	static_call_close();
	CHECK(count_files(), before);

	/* A program that closes all files, and then opens one that gets the number. */
	CHECK(to(TWO, 0), 0);
	file = open("/proc/self/exe", O_RDONLY);
	for (number = 3; number < file; number++)
		close(number);
	CHECK(to(ONE, 0), 0);
	check_target(ONE);
	static_call_close();
	for (number = 3; number < file; number++)
		close(number);
	CHECK(to(TWO, 0), 0);
	for (number = 3; number < file; number++) {
		char path[] = "/tmp/static-call-XXXXXX";
		int mine = mkstemp(path);

		unlink(path);
		CHECK(dup2(mine, number), number);
	}
	CHECK(to(ONE, 0), 0);
	check_target(ONE);
	for (number = 3; number < file; number++)
		CHECK(pread(number, text, 1, 0), 0);
	static_call_close();
	for (number = 3; number <= file + 2; number++)
		close(number);
}

/* No page is ever writable and executable, and pages keep their file. */
static int maps(char *text, int size)
{
	int file = open("/proc/self/maps", O_RDONLY), done = 0, now;

	while ((now = (int)read(file, text + done, (size_t)(size - 1 - done))) > 0)
		done += now;
	close(file);
	text[done] = 0;
	return !strstr(text, "rwx") && !strstr(text, "-wx");
}

static void protection(void)
{
	static char before[65536], after[65536];

	CHECK(to(ONE, 0), 0);
	CHECK(maps(before, sizeof(before)), 1);
	for (int target = 0; target < TARGETS; target++)
		CHECK(to(target, 0), 0);
	CHECK(maps(after, sizeof(after)), 1);
	CHECK(strcmp(before, after), 0);
	CHECK(to(ONE, 0), 0);
}

/* ---- fork() --------------------------------------------------------------------------------- */

static void child_updates(void)
{
	int before = count_files();

	check_target(ONE);
	for (int target = 0; target < TARGETS; target++) {
		CHECK(to(target, 0), 0);
		check_target(target);
	}
	CHECK(to(TWO, 0), 0);
	/* The parent's file was closed for this process's own. */
	CHECK(count_files(), before);
	CHECK(to(ONE, 0), 0);
	CHECK(in_child(transitions), 0);
	check_target(ONE);
}

static void fork_child(void)
{
	CHECK(to(ONE, 0), 0);
	CHECK(in_child(child_updates), 0);
	check_target(ONE);
	CHECK(to(TWO, 0), 0);
	check_target(TWO);
	CHECK(to(ONE, 0), 0);
}

static void fork_parent(void)
{
	int tell[2], status = -1;
	char byte = 0;
	pid_t child;

	CHECK(to(ONE, 0), 0);
	CHECK(pipe(tell), 0);
	child = fork();
	if (!child) {
		alarm(200);
		failures = 0;
		if (read(tell[0], &byte, 1) != 1)
			_exit(3);
		check_target(ONE);
		CHECK(to(FAR, 0), 0);
		check_target(FAR);
		_exit(!!failures);
	}
	CHECK(to(TWO, 0), 0);
	check_target(TWO);
	CHECK(write(tell[1], &byte, 1), 1);
	CHECK(waitpid(child, &status, 0), child);
	CHECK(status, 0);
	check_target(TWO);
	close(tell[0]);
	close(tell[1]);
	CHECK(to(ONE, 0), 0);
}

static int stop;

static void *update_all(void *none)
{
	for (int i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++)
		if (to(i % TARGETS, 0))
			abort();
	return none;
}

static void child_of_updaters(void)
{
	for (int target = 0; target < TARGETS; target++) {
		CHECK(to(target, 0), 0);
		check_target(target);
	}
	CHECK(static_call_update(other, two), 0);
	CHECK(static_call(other)(5), 502);
}

static void fork_in_the_middle(void)
{
	pthread_t threads[2];

	stop = 0;
	for (int i = 0; i < 2; i++)
		threads[i] = start(update_all, NULL);
	for (int i = 0; i < 10; i++)
		CHECK(in_child(child_of_updaters), 0);
	stop = 1;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	CHECK(to(ONE, 0), 0);
	check_target(ONE);
}

/* A lock whose owner is a thread of the parent, as a child finds it that was forked then. */
static void foreign_lock(void)
{
	STATIC_CALL_KEY(op).lock = (unsigned int)getppid();
	CHECK(to(TWO, 0), 0);
	check_target(TWO);
	CHECK(STATIC_CALL_KEY(op).lock, 0);
	/* Other code that has the lock, and is interrupted by a handler that updates. */
	STATIC_CALL_KEY(op).lock = (unsigned int)syscall(SYS_gettid);
	CHECK(to(ONE, 0), EDEADLK);
	check_target(TWO);
}

static void locks(void)
{
	CHECK(in_child(foreign_lock), 0);
}

/* ---- Threads and signals -------------------------------------------------------------------- */

static void *call_all(void *none)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		int result = call(5), known = 0;

		for (int target = 0; target < TARGETS; target++)
			known |= result == RESULTS[target];
		CHECK(known, 1);
	}
	return none;
}

static void check_agreement(void)
{
	int held = STATIC_CALL_KEY(op).func == STATIC_CALL_KEY(op).tramp ? 5 :
									   static_call_query(op)(5);

	CHECK(call(5), held);
	CHECK(STATIC_CALL_KEY(op).lock, 0);
}

static void *update_some(void *seed)
{
	for (unsigned int i = 0; i < 40; i++)
		CHECK(to((int)((i * 7 + (unsigned int)(uintptr_t)seed) % TARGETS), i % 4), 0);
	return NULL;
}

static void threads(void)
{
	pthread_t callers[2], updaters[4];

	stop = 0;
	for (int i = 0; i < 2; i++)
		callers[i] = start(call_all, NULL);
	for (int i = 0; i < 4; i++)
		updaters[i] = start(update_some, (void *)(uintptr_t)i);
	for (int i = 0; i < 4; i++)
		pthread_join(updaters[i], NULL);
	check_agreement();
	stop = 1;
	for (int i = 0; i < 2; i++)
		pthread_join(callers[i], NULL);
	CHECK(to(ONE, 0), 0);
}

static int handled;

static void on_signal(int number)
{
	(void)number;
	CHECK(to(handled++ % TARGETS, 0), 0);
	CHECK(static_call_update(other, handled % 2 ? one : two), 0);
}

static void signals(void)
{
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, never = { { 0, 0 }, { 0, 0 } };
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = on_signal;
	action.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &action, NULL);
	handled = 0;
	errno = 7;
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 2000 || handled < 20; i++)
		CHECK(to(i % TARGETS, STATIC_CALL_OLD_CODE), 0);
	setitimer(ITIMER_REAL, &never, NULL);
	CHECK(errno, 7);
	check_agreement();
	signal(SIGALRM, SIG_DFL);
	CHECK(to(ONE, 0), 0);
}

/* A thread that is cancelled does not take a lock with it. */
static void cancel(void)
{
	for (int i = 0; i < 10; i++) {
		pthread_t thread;

		stop = 0;
		thread = start(update_all, NULL);
		usleep(1000);
		pthread_cancel(thread);
		usleep(1000);
		stop = 1;
		pthread_join(thread, NULL);
		CHECK(to(ONE, 0), 0);
	}
}

/* ---- synchronize ---------------------------------------------------------------------------- */

static void *sleep_until_stopped(void *none)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		usleep(100000);
	return none;
}

static void *spin(void *none)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		;
	return none;
}

static int free_signals(void)
{
	int count = 0;

	for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
		struct sigaction now;

		sigaction(number, NULL, &now);
		count += now.sa_handler == SIG_DFL;
	}
	return count;
}

static void synchronize(void)
{
	pthread_t threads[4];
	int before = free_signals();

	CHECK(static_call_synchronize(op), 0);
	stop = 0;
	threads[0] = start(sleep_until_stopped, NULL);
	threads[1] = start(call_all, NULL);
	threads[2] = start(spin, NULL);
	threads[3] = start(call_all, NULL);
	for (int i = 0; i < 20; i++) {
		CHECK(to(i % TARGETS, 0), 0);
		CHECK(static_call_synchronize(op), 0);
	}
	stop = 1;
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	CHECK(free_signals(), before);
	CHECK(to(ONE, 0), 0);
}

static void *synchronize_all(void *none)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		CHECK(static_call_synchronize(other), 0);
		usleep(1000);
	}
	return none;
}

static void synchronize_together(void)
{
	pthread_t threads[2];

	stop = 0;
	for (int i = 0; i < 2; i++)
		threads[i] = start(synchronize_all, NULL);
	for (int i = 0; i < 5; i++) {
		CHECK(to(i % TARGETS, 0), 0);
		CHECK(static_call_synchronize(op), 0);
	}
	stop = 1;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	CHECK(to(ONE, 0), 0);
}

/* A trampoline, made by hand, in which a thread goes round and round. */
static struct static_call_key loop;

static void *enter_loop(void *none)
{
	((void (*)(void))loop.tramp)();
	return none;
}

static void nothing_more(void)
{
}

static void synchronize_waits(void)
{
	uint32_t *code = (uint32_t *)mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t thread;

	memcpy(code, (const void *)(uintptr_t)STATIC_CALL_TRAMP(op), 40);
	code[1] = 0x14000000; /* b . */
	if (code[2] == 0x58000050) {
		memset(code + 4, 0, 8);
	} else { /* adrp: the literal is on the next page, made later */
		code[2] = 0x90000010;
		code[3] = 0xf9400210 | 100 << 10;
	}
	mprotect(code, 4096, PROT_READ | PROT_EXEC);
	__builtin___clear_cache((char *)code, (char *)code + 40);
	loop.func = loop.tramp = (void (*)(void))(uintptr_t)code;
	thread = start(enter_loop, NULL);
	usleep(20000);
	CHECK(__static_call_synchronize_timeout(loop.tramp, 1000), ETIMEDOUT);
	CHECK(__static_call_update(&loop, loop.tramp, nothing_more, 0), 0);
	CHECK(__static_call_synchronize(loop.tramp), 0);
	pthread_join(thread, NULL);
	munmap(code, 4096);
}

/* ---- The end of the program ------------------------------------------------------------------ */

static void exit_while_updating(void)
{
	start(update_all, NULL);
	start(update_all, NULL);
	usleep(2000);
	exit(0);
}

/* The first thread has ended, and with it /proc/self/mem. */
static void *update_and_exit(void *first)
{
	pthread_join(*(pthread_t *)first, NULL);
	for (int target = 0; target < TARGETS; target++) {
		CHECK(to(target, 0), 0);
		check_target(target);
	}
	CHECK(static_call_synchronize(op), 0);
	_exit(!!failures);
}

static void without_the_first_thread(void)
{
	static pthread_t first;

	first = pthread_self();
	static_call_close();
	start(update_and_exit, &first);
	pthread_exit(NULL);
}

static void first_thread(void)
{
	CHECK(in_child(without_the_first_thread), 0);
}

static void at_exit(void)
{
	fflush(stdout);
	stop = 0;
	for (int i = 0; i < 5; i++)
		CHECK(in_child(exit_while_updating), 0);
}

static const struct test TESTS[] = {
	{ "transitions", transitions },
	{ "fresh_code", fresh_code },
	{ "bad_input", bad_input },
	{ "system_errors", system_errors },
	{ "seccomp", seccomp },
	{ "files", files },
	{ "protection", protection },
	{ "fork_child", fork_child },
	{ "fork_parent", fork_parent },
	{ "fork_in_the_middle", fork_in_the_middle },
	{ "locks", locks },
	{ "threads", threads },
	{ "signals", signals },
	{ "cancel", cancel },
	{ "synchronize", synchronize },
	{ "synchronize_together", synchronize_together },
	{ "synchronize_waits", synchronize_waits },
	{ "first_thread", first_thread },
	{ "at_exit", at_exit },
};

#ifdef __cplusplus
}
#endif

int main(int argc, char **argv)
{
	far = write_far_function(3);
	far2 = write_far_function(4);
	return run_tests(TESTS, sizeof(TESTS) / sizeof(TESTS[0]), argc, argv);
}
