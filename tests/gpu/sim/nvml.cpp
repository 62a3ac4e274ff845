// A simulated libnvidia-ml.so.1 beside the simulated driver: as many GPUs, the same UUIDs, the same memory.
//
// Memory is what the simulated driver of this process holds, and what others are said to hold; the process itself is on
// the list of those that compute while it holds any. Where the simulated driver is not loaded nothing is held.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

enum : int { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, TOO_SMALL = 7 };

// A function of the simulated driver, if that one is loaded; it is not loaded here.
template <class F>
F* of_driver(const char* name) {
  static void* driver = nullptr;
  if (!driver) driver = dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_LAZY);
  return driver ? reinterpret_cast<F*>(dlsym(driver, name)) : nullptr;
}

unsigned long long setting(const char* name, unsigned long long usual) {
  const char* text = getenv(name);
  return text && *text ? strtoull(text, nullptr, 0) : usual;
}

unsigned devices() {
  auto* of = of_driver<int()>("sim_devices");
  return of ? static_cast<unsigned>(of()) : static_cast<unsigned>(setting("SIM_CUDA_DEVICES", 1));
}
unsigned long long total() {
  auto* of = of_driver<unsigned long long()>("sim_total");
  return of ? of() : setting("SIM_CUDA_MEMORY", 8ull << 30);
}
unsigned long long own(unsigned device) {
  auto* of = of_driver<unsigned long long(int)>("sim_used");
  return of ? of(static_cast<int>(device)) : 0;
}
unsigned long long others() {
  auto* of = of_driver<unsigned long long()>("sim_taken");
  return of ? of() : 0;
}

// A handle is the number of the GPU and one.
bool is_handle(const void* handle) {
  auto at = reinterpret_cast<size_t>(handle);
  return at >= 1 && at <= devices();
}
unsigned number_of(const void* handle) { return static_cast<unsigned>(reinterpret_cast<size_t>(handle) - 1); }

struct Memory {
  unsigned version;
  unsigned long long total, reserved, free, used;
};
struct Utilization {
  unsigned gpu, memory;
};
struct Process {
  unsigned pid;
  unsigned long long bytes;
  unsigned instance, compute_instance;
};

}  // namespace

#define API extern "C" __attribute__((visibility("default"))) int
#define ASKED(device) \
  if (!is_handle(device)) return INVALID

API nvmlInit_v2() { return OK; }
API nvmlInitWithFlags(unsigned) { return OK; }
API nvmlShutdown() { return OK; }
API nvmlSystemGetDriverVersion(char* text, unsigned bytes) {
  snprintf(text, bytes, "570.86.15");
  return OK;
}
API nvmlDeviceGetCount_v2(unsigned* count) {
  *count = devices();
  return OK;
}
API nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  *device = reinterpret_cast<void*>(static_cast<size_t>(index) + 1);
  return index < devices() ? OK : INVALID;
}
API nvmlDeviceGetName(void* device, char* name, unsigned bytes) {
  ASKED(device);
  snprintf(name, bytes, "Simulated GPU");
  return OK;
}
API nvmlDeviceGetUUID(void* device, char* text, unsigned bytes) {
  ASKED(device);
  // As cuDeviceGetUuid of the simulated driver.
  char uuid[64] = "GPU-";
  for (unsigned k = 0; k < 16; k++) {
    unsigned at = static_cast<unsigned>(strlen(uuid));
    bool is_dashed = k == 4 || k == 6 || k == 8 || k == 10;
    snprintf(uuid + at, sizeof uuid - at, "%s%02x", is_dashed ? "-" : "", (0x10 * number_of(device) + k) & 0xff);
  }
  snprintf(text, bytes, "%s", uuid);
  return OK;
}
API nvmlDeviceGetMemoryInfo_v2(void* device, Memory* memory) {
  ASKED(device);
  unsigned long long held = own(number_of(device)) + others();
  memory->total = total();
  memory->reserved = 0;
  memory->used = held < memory->total ? held : memory->total;
  memory->free = memory->total - memory->used;
  return OK;
}
API nvmlDeviceGetUtilizationRates(void* device, Utilization* rates) {
  ASKED(device);
  *rates = {own(number_of(device)) > 0 ? 50u : 0u, 0};
  return OK;
}
API nvmlDeviceGetTemperature(void* device, int, unsigned* celsius) {
  ASKED(device);
  *celsius = 41;
  return OK;
}
API nvmlDeviceGetPowerUsage(void* device, unsigned* milliwatts) {
  ASKED(device);
  *milliwatts = 58000;
  return OK;
}
API nvmlDeviceGetEnforcedPowerLimit(void* device, unsigned* milliwatts) {
  ASKED(device);
  *milliwatts = 72000;
  return OK;
}
API nvmlDeviceGetCurrPcieLinkGeneration(void* device, unsigned* generation) {
  ASKED(device);
  *generation = 4;
  return OK;
}
API nvmlDeviceGetCurrPcieLinkWidth(void* device, unsigned* lanes) {
  ASKED(device);
  *lanes = 16;
  return OK;
}
API nvmlDeviceGetPcieThroughput(void* device, int, unsigned* kilobytes) {
  ASKED(device);
  *kilobytes = own(number_of(device)) > 0 ? 1 << 20 : 0;
  return OK;
}
API nvmlDeviceGetClockInfo(void* device, int, unsigned* megahertz) {
  ASKED(device);
  *megahertz = 1980;
  return OK;
}
API nvmlDeviceGetCurrentClocksThrottleReasons(void* device, unsigned long long* reasons) {
  ASKED(device);
  *reasons = 0;
  return OK;
}
API nvmlDeviceGetMigMode(void*, unsigned*, unsigned*) { return NOT_SUPPORTED; }
API nvmlDeviceGetComputeRunningProcesses_v3(void* device, unsigned* count, Process* list) {
  ASKED(device);
  unsigned long long bytes = own(number_of(device));
  unsigned room = *count;
  *count = bytes > 0 ? 1 : 0;
  if (*count > room) return TOO_SMALL;
  if (*count) *list = {static_cast<unsigned>(getpid()), bytes, ~0u, ~0u};
  return OK;
}
API nvmlDeviceGetGraphicsRunningProcesses_v3(void* device, unsigned* count, Process*) {
  ASKED(device);
  *count = 0;
  return OK;
}
extern "C" __attribute__((visibility("default"))) const char* nvmlErrorString(int) { return "an error"; }
