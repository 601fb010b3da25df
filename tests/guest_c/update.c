/*
 * What a program may do to static_call.c: its files, its keys, its handlers. It includes it, to look
 * inside.
 *
 * Usage: update [TEST...]
 */
#include "check.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* Called each time that the lock's code asks whether a thread has ended. */
static long asked_for_thread(void);
#undef SYS_tgkill
#define SYS_tgkill asked_for_thread()

#include "static_call.c"

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

static void check_both(void)
{
	CHECK(static_call_update(op, two), 0);
	CHECK(static_call(op)(5), 502);
	CHECK(static_call_update(op, one), 0);
	CHECK(static_call(op)(5), 501);
}

/* ---- An owner that ends -------------------------------------------------------------------- */

enum { NOBODY = 0x3fffffff }; /* no thread has this id */

static unsigned int *given_back, then_taken_by;

static long asked_for_thread(void)
{
	if (given_back)
		__atomic_store_n(given_back, then_taken_by, __ATOMIC_SEQ_CST);
	return __NR_tgkill;
}

/* The owner gives the lock back and ends, after we saw it there and before we ask for it. */
static void owner_ends(void)
{
	unsigned int lock = NOBODY, self = thread_id();

	CHECK(try_to_take(&lock, self), 0); /* it ended with the lock */
	CHECK(lock, self);
	for (unsigned int next = 0; next < 2; next++) {
		lock = NOBODY;
		then_taken_by = next ? self + 1 : 0;
		given_back = &lock;
		CHECK(try_to_take(&lock, self), NOBODY);
		CHECK(lock, then_taken_by);
		given_back = NULL;
	}
	STATIC_CALL_KEY(op).lock = NOBODY;
	then_taken_by = 0;
	given_back = &STATIC_CALL_KEY(op).lock;
	check_both();
	given_back = NULL;
	CHECK(STATIC_CALL_KEY(op).lock, 0);
}

/* ---- No descriptor below 3 ------------------------------------------------------------------ */

static int standard_streams;

static void without_streams(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (!(standard_streams >> fd & 1))
			close(fd);
	check_both();
	for (int fd = 0; fd < 3; fd++)
		CHECK(fcntl(fd, F_GETFD) >= 0, standard_streams >> fd & 1);
	check_both();
	static_call_close();
	check_both();
	for (int fd = 0; fd < 3; fd++)
		CHECK(fcntl(fd, F_GETFD) >= 0, standard_streams >> fd & 1);
}

static void only_three_files(void)
{
	struct rlimit limit;

	close(1);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &limit);
	CHECK(static_call_update(op, two), EMFILE);
	CHECK(static_call(op)(5), 501);
	CHECK(fcntl(1, F_GETFD), -1);
	limit.rlim_cur = 4;
	setrlimit(RLIMIT_NOFILE, &limit);
	close(3);
	check_both();
}

static void streams(void)
{
	static_call_close();
	for (standard_streams = 0; standard_streams < 8; standard_streams++)
		CHECK(in_child(without_streams), 0);
	CHECK(in_child(only_three_files), 0);
}

static int open_alien(void)
{
	char path[] = "/tmp/static-call-XXXXXX";
	int file = mkstemp(path);

	unlink(path);
	return file;
}

/* If a thread closes the file while it is used, and opens another, no update reports success. */
static void stolen(void)
{
	uint32_t word = NOP, before = word_at((uintptr_t)STATIC_CALL_TRAMP(op) + 4);
	struct stat status;
	int alien = open_alien();

	CHECK(store(alien, (uintptr_t)STATIC_CALL_TRAMP(op) + 4, &word, 4), EIO);
	CHECK(word_at((uintptr_t)STATIC_CALL_TRAMP(op) + 4), before);
	close(alien);
	/* And one that has the number when the update begins is not written to. */
	check_both();
	static_call_close();
	check_both();
	alien = open_alien();
	if (memory >= 0 && is_memory(memory)) {
		dup2(alien, memory);
		check_both();
	}
	fstat(alien, &status);
	CHECK(status.st_size, 0);
	close(alien);
	static_call_close();
}

/* ---- Keys ------------------------------------------------------------------------------------ */

/* Where it writes is not said by anything that is writable. */
static void forged(void)
{
	static uint32_t words[16] __attribute__((__aligned__(8)));
	struct static_call_key saved = STATIC_CALL_KEY(op);

	memcpy(words, (const void *)(uintptr_t)STATIC_CALL_TRAMP(op), 40);
	STATIC_CALL_KEY(op).tramp = (void (*)(void))(uintptr_t)words;
	CHECK(static_call_update(op, two), ENOEXEC);
	STATIC_CALL_KEY(op).tramp = STATIC_CALL_KEY(other).tramp;
	CHECK(static_call_update(op, two), ENOEXEC);
	STATIC_CALL_KEY(op).tramp = NULL;
	CHECK(static_call_update(op, two), ENOEXEC);
	STATIC_CALL_KEY(op) = saved;
	CHECK(static_call(op)(5), 501);
	CHECK(static_call(other)(5), 501);
	check_both();
}

/* ---- ADRP: where the literal is, for each sign and size, by the CPU's own word ----------------- */

static void literals(void)
{
	static const int64_t PAGES[] = { 0, 1, 2, 3, 4, 0x7fff, 0x8000, 0xfffff, -1, -2, -3, -4, -5,
					 -0x8000, -0x8001, -0x100000 };
	uint32_t *code = (uint32_t *)mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t i;

	for (i = 0; i < sizeof(PAGES) / sizeof(PAGES[0]); i++) {
		uint32_t pages = (uint32_t)PAGES[i] & 0x1fffff;
		const uint32_t words[] = {
			BTI_C, NOP, ADRP_X16 | (pages & 3) << 29 | pages >> 2 << 5,
			LDR_X16_X16 | (uint32_t)(i * 37 % 512) << 10, BR_X16, BTI_C, MOV_X0_0, BTI_C, RET,
			/* the same ADRP as a function, in the same page: adrp x0, .; ret */
			(ADRP_X16 | (pages & 3) << 29 | pages >> 2 << 5) & ~31u, RET,
		};
		struct trampoline found;

		mprotect(code, 4096, PROT_READ | PROT_WRITE);
		memcpy(code, words, sizeof(words));
		mprotect(code, 4096, PROT_READ | PROT_EXEC);
		__builtin___clear_cache((char *)code, (char *)code + sizeof(words));
		CHECK(recognise((void (*)(void))(uintptr_t)code, &found), 0);
		CHECK(found.literal,
		      ((uintptr_t(*)(void))(uintptr_t)(code + 9))() + i * 37 % 512 * 8);
	}
	munmap(code, 4096);
}

/* ---- In turn ----------------------------------------------------------------------------------- */

static int stop;
static unsigned long updates[6];

static void *update_often(void *number)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		CHECK(static_call_update(op, updates[(uintptr_t)number] % 2 ? one : two), 0);
		__atomic_fetch_add(&updates[(uintptr_t)number], 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Nobody starves: when one has made 60 updates beside the others, each has made a good part. */
static void in_turn(void)
{
	pthread_t threads[6];
	uintptr_t i;

	stop = 0;
	memset(updates, 0, sizeof(updates));
	for (i = 0; i < 6; i++)
		threads[i] = start(update_often, (void *)i);
	while (__atomic_load_n(&updates[5], __ATOMIC_RELAXED) < 10)
		usleep(1000);
	for (i = 0; i < 6; i++)
		__atomic_store_n(&updates[i], 0, __ATOMIC_RELAXED);
	while (__atomic_load_n(&updates[5], __ATOMIC_RELAXED) < 60)
		usleep(1000);
	for (i = 0; i < 6; i++) {
		unsigned long made = __atomic_load_n(&updates[i], __ATOMIC_RELAXED);

		CHECK(made >= 15 && made <= 300, 1);
	}
	stop = 1;
	for (i = 0; i < 6; i++)
		pthread_join(threads[i], NULL);
	check_both();
	CHECK(STATIC_CALL_KEY(op).lock, 0);
}

static void wait_for_ticket(void)
{
	unsigned int queue;

	do {
		usleep(100);
		queue = __atomic_load_n(&STATIC_CALL_KEY(op).queue, __ATOMIC_SEQ_CST);
	} while (turn_of(queue) == queue >> 16);
}

static pthread_t waiter;
static sigjmp_buf back;
static int left;

static void leave(int number)
{
	(void)number;
	left = 1;
	siglongjmp(back, 1);
}

static void *wait_and_leave(void *none)
{
	if (!sigsetjmp(back, 1))
		static_call_update(op, two);
	/* It can update, later. */
	CHECK(static_call_update(op, two), 0);
	return none;
}

/* A handler may leave a waiting update for ever, and others go on. */
static void longjmp_out(void)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = leave;
	sigaction(SIGUSR1, &action, NULL);
	left = 0;
	STATIC_CALL_KEY(op).lock = (unsigned int)thread_id();
	waiter = start(wait_and_leave, NULL);
	wait_for_ticket();
	pthread_kill(waiter, SIGUSR1); /* not blocked while it waits */
	while (!__atomic_load_n(&left, __ATOMIC_RELAXED))
		usleep(100);
	CHECK(static_call_update(op, one), EDEADLK);
	__atomic_store_n(&STATIC_CALL_KEY(op).lock, 0, __ATOMIC_SEQ_CST);
	check_both();
	pthread_join(waiter, NULL);
	check_both();
	signal(SIGUSR1, SIG_DFL);
}

static void update_in_handler(int number)
{
	(void)number;
	CHECK(static_call_update(op, one), 0);
	left = 1;
}

static void *wait_interrupted(void *none)
{
	CHECK(static_call_update(op, two), 0);
	return none;
}

static void *give_back(void *lock)
{
	usleep(20000);
	__atomic_store_n((unsigned int *)lock, 0, __ATOMIC_SEQ_CST);
	return NULL;
}

/* A handler that interrupts a waiting update may update the same static call. */
static void handler_in_waiting(void)
{
	struct sigaction action;
	pthread_t giver;

	memset(&action, 0, sizeof(action));
	action.sa_handler = update_in_handler;
	sigaction(SIGUSR1, &action, NULL);
	left = 0;
	STATIC_CALL_KEY(op).lock = (unsigned int)thread_id();
	waiter = start(wait_interrupted, NULL);
	wait_for_ticket();
	pthread_kill(waiter, SIGUSR1);
	giver = start(give_back, &STATIC_CALL_KEY(op).lock);
	pthread_join(giver, NULL);
	pthread_join(waiter, NULL);
	CHECK(left, 1);
	CHECK(static_call(op)(5), 502);
	check_both();
	signal(SIGUSR1, SIG_DFL);
}

/* Tickets of threads that are not there, at the place where their numbers begin again. */
static void old_tickets(void)
{
	static const unsigned int QUEUES[] = { 0x00010000, 0x0002ffff, 0x0000fffe, 0x80017fff };
	int i;

	for (i = 0; i < 4; i++) {
		STATIC_CALL_KEY(op).queue = QUEUES[i];
		check_both();
		check_both();
		CHECK(turn_of(STATIC_CALL_KEY(op).queue), STATIC_CALL_KEY(op).queue >> 16);
	}
	for (i = 0; i < 70000; i += 7000) {
		STATIC_CALL_KEY(op).queue = (unsigned int)(i & 0xffff) * 0x10001u;
		check_both();
	}
}

/* As a child finds it, that was forked while a thread had the lock and others waited. */
static void inherited(void)
{
	STATIC_CALL_KEY(op).lock = (unsigned int)getppid();
	STATIC_CALL_KEY(op).queue = 0x00030000;
	check_both();
	CHECK(STATIC_CALL_KEY(op).lock, 0);
}

static void inherited_tickets(void)
{
	CHECK(in_child(inherited), 0);
}

static const struct test TESTS[] = {
	{ "owner_ends", owner_ends },
	{ "streams", streams },	    { "stolen", stolen },
	{ "forged", forged },	    { "literals", literals },
	{ "in_turn", in_turn },	    { "longjmp_out", longjmp_out },
	{ "handler_in_waiting", handler_in_waiting },
	{ "old_tickets", old_tickets },
	{ "inherited_tickets", inherited_tickets },
};

int main(int argc, char **argv)
{
	return run_tests(TESTS, sizeof(TESTS) / sizeof(TESTS[0]), argc, argv);
}
