/*
 * One of two objects that have a static call of one name each, `policy`: OBJECT is the prefix of
 * what it exports. With MAIN, the program, which also has one, and asks them all.
 */
#include <stdio.h>

#include "static_call.h"

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)
#define OWN(name) PASTE(OBJECT, name)

int OWN(call)(int a);
int OWN(update)(int fast);
int OWN(query)(int a);

static int slow(int a)
{
	return a + NUMBER;
}

static int fast(int a)
{
	return a + 10 * NUMBER;
}

DEFINE_STATIC_CALL(policy, slow);
#if defined EXPORTED && defined EXPORT_STATIC_CALL
EXPORT_STATIC_CALL(policy);
#endif

int OWN(call)(int a)
{
	int result = static_call(policy)(a);

	return result; /* not by a tail call */
}

int OWN(update)(int to_fast)
{
	return static_call_update(policy, to_fast ? fast : slow);
}

int OWN(query)(int a)
{
	return static_call_query(policy)(a);
}

/* Whether calls may go to another object's while queries ask this one's: see docs/c.md. */
#ifndef CALLS_BY_GOT
#define CALLS_BY_GOT 0
#endif

#ifdef MAIN
int first_call(int a);
int first_update(int to_fast);
int first_query(int a);
int second_call(int a);
int second_update(int to_fast);
int second_query(int a);

static int (*const calls[])(int) = { main_call, first_call, second_call };
static int (*const updates[])(int) = { main_update, first_update, second_update };
static int (*const queries[])(int) = { main_query, first_query, second_query };

/* An update that says it was made has changed what its object's calls do, and any other nothing. */
int main(void)
{
	int results[3], wrong = 0;

	for (int i = 0; i < 3; i++)
		results[i] = calls[i](0);
	for (int round = 0; round < 6; round++) {
		int i = round % 3, to_fast = round < 3, error = updates[i](to_fast);

		for (int j = 0; j < 3; j++) {
			int now = calls[j](0), held = queries[j](0);
			int wanted = (to_fast ? 10 : 1) * (i + 1);

			if (error ? now != results[j] : j == i && now != wanted) {
				printf("update of %d returned %d, now %d calls %d\n", i, error, j, now);
				wrong = 1;
			}
			if (held != now && !CALLS_BY_GOT) {
				printf("%d calls %d, its query says %d\n", j, now, held);
				wrong = 1;
			}
			/* Where two share one trampoline, both have changed, and that is right. */
			results[j] = now;
		}
	}
	return wrong;
}
#endif
