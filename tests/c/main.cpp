/* Prints what each file of the test program makes of its static calls. */
#include <stdio.h>

#include "names.hpp"

int main()
{
	using namespace geo;
	int caught = 0;

	printf("calls %d\n", calls_self(4));
	printf("others %d\n", others(10));
	printf("names %d\n", names(3));
	printf("main %d %d %d\n", static_call(op)(20, 3), static_call(geo_area)(5),
	       static_call(policy)(1));
	printf("query %d\n", static_call_query(geo_area)(6) + (static_call_query(op) == add) +
	       100 * (static_call_query(op) == sub));
	printf("name %s\n", static_call(geo_name)("class").text);
	try {
		static_call(geo_throws)(77);
	} catch (int thrown) {
		caught = thrown;
	}
	printf("caught %d\n", caught);
	return 0;
}
