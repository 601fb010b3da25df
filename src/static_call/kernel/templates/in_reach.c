
/* Whether B in the slot reaches a function. */
static bool in_reach(void *slot, void *func)
{
	long distance = func - slot;

	return distance >= -SZ_128M && distance < SZ_128M;
}
