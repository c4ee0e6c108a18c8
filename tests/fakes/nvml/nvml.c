/* A stand-in for libnvidia-ml.so.1 with two cards, for machines without a driver. Built by tests/ports/test_gpu_probe.py.
 * Only what the probe calls. FAKE_NVML names a fault: "no_driver" fails to start, "broken_card" loses the second card. */
#include <stdlib.h>
#include <string.h>

typedef struct { unsigned long long total, free, used; } memory_t;
static const char *fault(void) { const char *f = getenv("FAKE_NVML"); return f ? f : ""; }
static int cards[2] = {0, 1};

int nvmlInitWithFlags(unsigned flags) { (void)flags; return strcmp(fault(), "no_driver") ? 0 : 9; }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { (void)code; return "a fault of the fake"; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { strncpy(text, "550.54.15", size); return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12040; return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
    if (index == 1 && !strcmp(fault(), "broken_card")) return 15; /* fallen off the bus */
    *device = &cards[index];
    return 0;
}

int nvmlDeviceGetUUID(void *device, char *text, unsigned size)
{
    strncpy(text, *(int *)device ? "GPU-bbbb" : "GPU-aaaa", size);
    return 0;
}

int nvmlDeviceGetName(void *device, char *text, unsigned size)
{
    (void)device;
    strncpy(text, "NVIDIA Test Card", size);
    return 0;
}

int nvmlDeviceGetMemoryInfo(void *device, memory_t *memory)
{
    memory->total = *(int *)device ? 80ull << 30 : 24ull << 30;
    memory->free = memory->total;
    memory->used = 0;
    return 0;
}
