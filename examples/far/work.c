#include "work.h"

int near_work(int x)
{
	return x + 1;
}

__attribute__((section(".far.text"))) int far_work(int x)
{
	return x + 1;
}
