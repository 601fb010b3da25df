/* Static calls of C++: mangled names, namespaces, overloads, noexcept, classes by value. */
#ifndef NAMES_HPP
#define NAMES_HPP

#include "calls.h"

namespace geo {

struct Name {
	const char *text;
	explicit Name(const char *t) : text(t) {}
	Name(const Name &other) : text(other.text) {}
	~Name() { text = nullptr; }
};

int area(int a);
int area(int a, int b) noexcept;
Name name(const char *text);
int throws(int a);

DECLARE_STATIC_CALL(geo_area, static_cast<int (*)(int)>(area));
DECLARE_STATIC_CALL(geo_name, name);
DECLARE_STATIC_CALL(geo_throws, throws);

}

#pragma GCC visibility push(default)
int names(int a);
#pragma GCC visibility pop

#endif
