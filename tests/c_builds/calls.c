/*
 * A program, or all of a library, that does with static calls what can be done with them.
 *
 * Usage: main [TEST...]. Prints ok, FAIL or skip for each test.
 */
#include "check.h"

#include <setjmp.h>
#include <stdarg.h>

#include "calls.h"

#ifdef __cplusplus
#include <string>
extern "C" {
#endif

#define NOINLINE __attribute__((__noinline__))

/* Where a call by a pointer is checked, a function that is written in assembly may not be called. */
#ifdef CHECKS_POINTERS
#define CHECK_ZERO(func) CHECK((func) != NULL, 1)
#else
#define CHECK_ZERO(func) CHECK((func)(5), 0)
#endif

static void to_op(int (*func)(int), int result)
{
	CHECK(static_call_update(op, func), 0);
	CHECK(static_call(op)(5), result);
	CHECK(call_op(5), result);
	CHECK(static_call_query(op) == func, 1);
}

/* Which address of `one` it is: where two functions were folded they are one. */
static void near_and_far(void)
{
	function *far = write_far_function(7), *far2 = write_far_function(8);
	int (*const targets[])(int) = { one, two, far, far2, NULL };
	const int results[] = { 501, 502, 507, 508, 5 };

	CHECK(call_op(5), 501);
	CHECK(static_call_query(op) == one, 1);
	for (size_t from = 0; from < 5; from++)
		for (size_t to = 0; to < 5; to++) {
			to_op(targets[from], results[from]);
			to_op(targets[to], results[to]);
			CHECK(static_call_update(op, __static_call_return0), 0);
			CHECK(call_op(5), 0);
			CHECK_ZERO(static_call_query(op));
			to_op(targets[to], results[to]);
		}
	to_op(one, 501);
}

static void null_and_ret0(void)
{
	int counter = 0;

	CHECK(static_call_query(hook) == NULL, 1);
	CHECK(call_hook(&counter), 0);
	CHECK(static_call(zero)(5), 0);
	CHECK_ZERO(static_call_query(zero));
	CHECK(update_op(two), 0);
	CHECK(call_hook(&counter), 1);
	CHECK(call_op(5), 502);
	CHECK(static_call_update(hook, NULL), 0);
	CHECK(call_hook(&counter), 1);
	CHECK(static_call_update(zero, one), 0);
	CHECK(static_call(zero)(5), 501);
	CHECK(static_call_update(zero, __static_call_return0), 0);
	CHECK(static_call(zero)(5), 0);
	to_op(one, 501);
}

static void flags(void)
{
	for (unsigned int flags = 0; flags < 4; flags++) {
		CHECK(static_call_update_flags(op, two, flags), 0);
		CHECK(call_op(5), 502);
		CHECK(static_call_update_flags(op, one, flags), 0);
		CHECK(call_op(5), 501);
	}
	CHECK(static_call_update_flags(op, two, 4), EINVAL);
	CHECK(call_op(5), 501);
}

/* What is between the instructions of an update, the compiler's counters say, must not harm it. */
static void often(void)
{
	errno = 12345;
	for (int i = 0; i < 300; i++) {
		CHECK(static_call_update(op, i & 1 ? one : two), 0);
		CHECK(static_call(op)(5), i & 1 ? 501 : 502);
	}
	CHECK(errno, 12345);
	to_op(one, 501);
}

static void synchronize(void)
{
	CHECK(static_call_synchronize(op), 0);
	CHECK(static_call_update(op, two), 0);
	CHECK(static_call_synchronize(op), 0);
	to_op(one, 501);
}

/* ---- Where the target is. ------------------------------------------------------------------ */

#ifdef __cplusplus
#define ABS static_cast<int (*)(int)>(abs) /* overloaded there */
#else
#define ABS abs
#endif

static int later(int a);
static inline int in_line(int a)
{
	return 100 * a + 4;
}

WEAK int feeble(int a)
{
	return 100 * a + 5;
}

DEFINE_STATIC_CALL(later_call, later);
DEFINE_STATIC_CALL(in_line_call, in_line);
DEFINE_STATIC_CALL(feeble_call, feeble);
DEFINE_STATIC_CALL(abs_call, ABS);
#ifndef NO_IFUNC /* in a static glibc they are IFUNCs */
DEFINE_STATIC_CALL(strlen_call, strlen);
DEFINE_STATIC_CALL(memcpy_call, memcpy);
#endif

static int later(int a)
{
	return 100 * a + 6;
}

static void targets(void)
{
	CHECK(static_call(later_call)(5), 506);
	CHECK(static_call(in_line_call)(5), 504);
	CHECK(static_call(feeble_call)(5), 505);
	CHECK(static_call(concealed_call)(5), 503);
	CHECK(static_call(LONG_NAME)(5), 501);
	CHECK(static_call(abs_call)(-5), 5);
	CHECK(static_call_update(later_call, in_line), 0);
	CHECK(static_call_update(in_line_call, feeble), 0);
	CHECK(static_call_update(feeble_call, later), 0);
	CHECK(static_call_update(concealed_call, abs), 0);
	CHECK(static_call_update(LONG_NAME, concealed), 0);
	CHECK(static_call_update(abs_call, concealed), 0);
	CHECK(static_call(later_call)(5), 504);
	CHECK(static_call(in_line_call)(5), 505);
	CHECK(static_call(feeble_call)(5), 506);
	CHECK(static_call(concealed_call)(-5), 5);
	CHECK(static_call(LONG_NAME)(5), 503);
	CHECK(static_call(abs_call)(-5), -497);
	CHECK(static_call_update(abs_call, abs), 0);
	CHECK(static_call_query(abs_call) == ABS, 1);
	CHECK(static_call(abs_call)(-5), 5);
	CHECK(static_call_update(LONG_NAME, one), 0);
}

/* A weak function that nothing defines is NULL. */
static void weak_undefined(void)
{
	CHECK(static_call(undefined_call)(5), 5);
	CHECK(static_call_query(undefined_call) == NULL, 1);
	CHECK(static_call_update(undefined_call, one), 0);
	CHECK(static_call(undefined_call)(5), 501);
	CHECK(static_call_update(undefined_call, undefined), 0);
	CHECK(static_call(undefined_call)(5), 5);
	CHECK(static_call_query(undefined_call) == NULL, 1);
}

#ifndef NO_IFUNC
static int chosen_one(int a)
{
	return 100 * a + 9;
}

/* The dynamic linker calls it before what instrumentation needs is there. */
#ifdef __clang__
#define PLAIN __attribute__((__no_sanitize__("coverage", "address", "thread", "undefined")))
#else
#define PLAIN                                                                                      \
	__attribute__((__no_sanitize_address__, __no_sanitize_thread__, __no_sanitize_coverage__,  \
		       __no_sanitize_undefined__))
#endif

int (*choose(void))(int);
__attribute__((__used__, __visibility__("hidden"), __no_instrument_function__,
	       __no_profile_instrument_function__)) PLAIN
int (*choose(void))(int)
{
	return chosen_one;
}

int chosen(int a) __attribute__((ifunc("choose")));
DEFINE_STATIC_CALL(chosen_call, chosen);

static void ifunc(void)
{
	char text[8] = "";

	CHECK(static_call(strlen_call)("four"), 4);
	static_call(memcpy_call)(text, "four", 5);
	CHECK(strcmp(text, "four"), 0);
	CHECK(static_call(chosen_call)(5), 509);
	CHECK(static_call_update(chosen_call, one), 0);
	CHECK(static_call(chosen_call)(5), 501);
	CHECK(static_call_update(chosen_call, chosen), 0);
	CHECK(static_call(chosen_call)(5), 509);
	CHECK(static_call_query(chosen_call)(5), 509);
}
#endif

/* ---- How arguments and results travel. ----------------------------------------------------- */

static long sum(int count, ...)
{
	va_list list;
	long total = 0;

	va_start(list, count);
	for (int i = 0; i < count; i++)
		total += i & 1 ? (long)va_arg(list, double) : va_arg(list, long);
	va_end(list);
	return total;
}

static long minus(int count, ...)
{
	(void)count;
	return -1;
}

static struct wide widen(struct wide a, long b)
{
	for (int i = 0; i < 9; i++)
		a.at[i] += b;
	return a;
}

static struct wide shrink(struct wide a, long b)
{
	for (int i = 0; i < 9; i++)
		a.at[i] -= b;
	return a;
}

static struct floats scale(struct floats a, float b)
{
	for (int i = 0; i < 4; i++)
		a.at[i] *= (double)b;
	return a;
}

static struct floats divide(struct floats a, float b)
{
	for (int i = 0; i < 4; i++)
		a.at[i] /= (double)b;
	return a;
}

static pair add_pairs(pair a, pair b)
{
	return a + b;
}

static pair subtract_pairs(pair a, pair b)
{
	return a - b;
}

static double many(long a, long b, long c, long d, long e, long f, long g, long h, long i, short j,
		   double k, double l, double m, double n, double o, double p, double q, double r,
		   double s, float t)
{
	return (double)(a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i +
			10 * j) +
	       k + l + m + n + o + p + q + r + s * 1000 + (double)t * 10000;
}

static double few(long a, long b, long c, long d, long e, long f, long g, long h, long i, short j,
		  double k, double l, double m, double n, double o, double p, double q, double r,
		  double s, float t)
{
	(void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
	(void)k, (void)l, (void)m, (void)n, (void)o, (void)p, (void)q, (void)r;
	return (double)i + j + s + (double)t;
}

static __thread int of_thread = 40;

static int count_in_thread(int a)
{
	return of_thread += a;
}

DEFINE_STATIC_CALL(sum_call, sum);
DEFINE_STATIC_CALL(wide_call, widen);
DEFINE_STATIC_CALL(floats_call, scale);
DEFINE_STATIC_CALL(pair_call, add_pairs);
DEFINE_STATIC_CALL(many_call, many);
DEFINE_STATIC_CALL(thread_call, count_in_thread);

#define MANY static_call(many_call)(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3)

static NOINLINE long calls_all(void)
{
	struct wide wide = { { 1, 2, 3, 4, 5, 6, 7, 8, 9 } };
	struct floats floats = { { 10, 20, 30, 40 } };
	pair first = { 10, 20 }, second = { 1, 2 }, both;

	wide = static_call(wide_call)(wide, 10);
	floats = static_call(floats_call)(floats, 2);
	both = static_call(pair_call)(first, second);
	return (wide.at[0] + wide.at[8]) * 1000000 +
	       (long)(floats.at[0] + floats.at[3]) * 1000 + (long)(both[0] + both[1]);
}

static void conventions(void)
{
	CHECK(static_call(sum_call)(4, 1L, 2.0, 3L, 4.0), 10);
	CHECK(static_call(sum_call)(12, 1L, 2., 3L, 4., 5L, 6., 7L, 8., 9L, 10., 11L, 12.), 78);
	CHECK(calls_all(), 30100033); /* 11 + 19; 20 + 80; 11 + 22 */
	CHECK(MANY, 385 + 8 + 2000 + 30000);
	CHECK(static_call(thread_call)(2), 42);
	CHECK(static_call_update(sum_call, minus), 0);
	CHECK(static_call_update(wide_call, shrink), 0);
	CHECK(static_call_update(floats_call, divide), 0);
	CHECK(static_call_update(pair_call, subtract_pairs), 0);
	CHECK(static_call_update(many_call, few), 0);
	CHECK(static_call(sum_call)(4, 1L, 2.0, 3L, 4.0), -1);
	CHECK(calls_all(), -9975 * 1000 + 27); /* -9 + -1; 5 + 20; 9 + 18 */
	CHECK(MANY, 9 + 10 + 2 + 3);
	CHECK(static_call_update(thread_call, abs), 0);
	CHECK(static_call(thread_call)(-2), 2);
	CHECK(of_thread, 42);
}

/* ---- Leaving a target early. --------------------------------------------------------------- */

static jmp_buf back;

static void leap(int a)
{
	longjmp(back, a);
}

DEFINE_STATIC_CALL(leap_call, leap);

static void jump(void)
{
	volatile int seen = 0;

	for (volatile int i = 1; i < 4;) {
		int result = setjmp(back);

		if (!result)
			static_call(leap_call)(i);
		seen = seen + result;
		i = i + 1;
	}
	CHECK(seen, 6);
}

#ifdef __cplusplus
static int destroyed;

struct Counts {
	int value;
	explicit Counts(int a) : value(a) {}
	Counts(const Counts &other) : value(other.value) {}
	~Counts() { destroyed++; }
};

extern "C++" {
static Counts throws(Counts a)
{
	if (a.value > 5)
		throw std::string("large");
	return Counts(a.value + 1);
}

static Counts throws_another(Counts a)
{
	throw a.value;
}

/* By a tail call, and by one from a frame with something to clean up. */
static NOINLINE Counts through(int a)
{
	return static_call_query(op) ? throws(Counts(a)) : Counts(0);
}

DEFINE_STATIC_CALL(throws_call, throws);

static NOINLINE int with_cleanup(int a)
{
	Counts outer(a);

	return static_call(throws_call)(outer).value + through(a).value;
}
}

static void exceptions(void)
{
	int caught = 0;

	CHECK(with_cleanup(1), 4);
	try {
		with_cleanup(6);
	} catch (const std::string &text) {
		caught = text == "large";
	}
	CHECK(caught, 1);
	CHECK(destroyed > 0, 1);
	CHECK(static_call_update(throws_call, throws_another), 0);
	try {
		static_call(throws_call)(Counts(8));
	} catch (int value) {
		caught = value;
	}
	CHECK(caught, 8);
	CHECK(static_call_update(throws_call, throws), 0);
}
#endif

/* ---- Threads and processes. ---------------------------------------------------------------- */

static int stop;

static void *call_on(void *calls)
{
	long count = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		int result = call_op(5);

		CHECK(result == 501 || result == 502, 1);
		result = static_call(zero)(5);
		CHECK(result == 0 || result == 501, 1);
		count++;
	}
	__atomic_fetch_add((long *)calls, count, __ATOMIC_RELAXED);
	return NULL;
}

static void *update_on(void *updates)
{
	for (int i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
		int (*now)(int);

		CHECK(static_call_update(op, i & 1 ? one : two), 0);
		now = static_call_query(op);
		CHECK(now == one || now == two, 1);
		CHECK(i & 1 ? static_call_update(zero, one) :
			      static_call_update(zero, __static_call_return0), 0);
		__atomic_fetch_add((long *)updates, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/*
 * Some updates of each updater's, and a synchronize, while others call. On a machine that is busy
 * with more than this, a thread may take longer to say where it is than it is waited for.
 */
static void load(void)
{
	long calls = 0, updates = 0;
	pthread_t threads[] = {
		start(call_on, &calls), start(call_on, &calls), start(update_on, &updates),
		start(update_on, &updates),
	};
	int error;

	while (__atomic_load_n(&updates, __ATOMIC_RELAXED) < 40)
		usleep(1000);
	error = static_call_synchronize(op);
	CHECK(error == 0 || error == ETIMEDOUT, 1);
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	CHECK(calls > 0, 1);
	CHECK(static_call_update(zero, __static_call_return0), 0);
	to_op(one, 501);
}

static void update_in_child(void)
{
	CHECK(call_op(5), 502);
	to_op(one, 501);
	to_op(write_far_function(3), 503);
	CHECK(static_call_synchronize(op), 0);
}

static void fork_child(void)
{
	to_op(two, 502);
	CHECK(in_child(update_in_child), 0);
	CHECK(call_op(5), 502);
	to_op(one, 501);
}

static void closed(void)
{
	to_op(two, 502);
	static_call_close();
	static_call_close();
	to_op(one, 501);
}

/* What `static-call set FILE op=two` is asked for; run by its name alone. */
static void op_is_two(void)
{
	CHECK(call_op(5), 502);
	CHECK(static_call(op)(5), 502);
	CHECK(static_call_query(op) == two, 1);
	to_op(one, 501);
	to_op(two, 502);
}

static const struct test TESTS[] = {
	{ "near_and_far", near_and_far },
	{ "null_and_ret0", null_and_ret0 },
	{ "flags", flags },
	{ "often", often },
	{ "synchronize", synchronize },
	{ "targets", targets },
#ifndef NO_IFUNC
	{ "ifunc", ifunc },
#endif
	{ "conventions", conventions },
	{ "jump", jump },
#ifdef __cplusplus
	{ "exceptions", exceptions },
#endif
	{ "load", load },
	{ "fork_child", fork_child },
	{ "closed", closed },
	{ "weak_undefined", weak_undefined },
	{ "op_is_two", op_is_two },
};

int run(int argc, char **argv)
{
	return run_tests(TESTS, sizeof(TESTS) / sizeof(TESTS[0]) - (argc < 2), argc, argv);
}

#ifdef __cplusplus
}
#endif
