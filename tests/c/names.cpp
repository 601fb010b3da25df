#include "names.hpp"

namespace {

int hidden(int a)
{
	return a + 500;
}

template <typename T> T generic(T a)
{
	return a - 1;
}

struct Class {
	static int member(int a) { return a * 7; }
};

}

namespace geo {

int area(int a)
{
	return a * a;
}

int area(int a, int b) noexcept
{
	return a * b;
}

Name name(const char *text)
{
	return Name(text + 1);
}

int throws(int a)
{
	throw a;
}

DEFINE_STATIC_CALL(geo_area, static_cast<int (*)(int)>(area));
DEFINE_STATIC_CALL(geo_area2, static_cast<int (*)(int, int) noexcept>(area));
DEFINE_STATIC_CALL(geo_name, name);
DEFINE_STATIC_CALL(geo_throws, throws);
EXPORT_STATIC_CALL(geo_area);
EXPORT_STATIC_CALL(geo_name);
EXPORT_STATIC_CALL(geo_throws);

static_assert(noexcept(static_call(geo_area2)(1, 2)), "noexcept is part of the type");
static_assert(!noexcept(static_call(geo_area)(1)), "and only where it is given");

}

DEFINE_STATIC_CALL(hidden_name, hidden);
DEFINE_STATIC_CALL(generic_name, static_cast<int (*)(int)>(generic<int>));
DEFINE_STATIC_CALL(member_name, Class::member);
DEFINE_STATIC_CALL_NULL(names_hook, void(int));
DEFINE_STATIC_CALL_RET0(names_policy, hidden);

int names(int a)
{
	static_call_cond(names_hook)(a);
	return geo::static_call(geo_area2)(a, 2) + static_call(hidden_name)(a) +
	       static_call(generic_name)(a) + static_call(member_name)(a) +
	       static_call(names_policy)(a) + static_call(twice)(a) +
	       (static_call_query(names_hook) == nullptr) + (static_call_query(names_policy) != nullptr);
}
