// A simulated libcuda.so.1: the driver's functions over main memory; launch.cpp runs kernels, as C++ or as PTX.
//
// What a stream is given is done at the last legal moment: when somebody waits for it. A program that forgets to wait,
// or that writes to memory which a copy has not read yet, gets wrong bytes each time, and not once a week. Device memory
// is filled with 0xcd when it is given out; copies outside of it are refused; memory is counted by device.
//
// | setting (environment `SIM_CUDA_…`, or `sim_set`) | what it does                                                     |
// |--------------------------------------------------|------------------------------------------------------------------|
// | DEVICES, MEMORY, VERSION                         | how many, bytes of each, the driver's version (12080)            |
// | FAIL=cuMemAlloc_v2:3:2                           | the third call of a function returns 2; `3+` that and all later  |
// | TAKEN=5:1000000                                  | from the fifth launch on others hold so many bytes of each device |
// | FORGET=wait                                      | waiting for an event returns at once                             |
// | WRONG=1000                                       | that byte of each longer copy from a device has another bit      |
// | LAUNCH_US=100                                    | each launch takes so long                                        |
// | SLOW=to:500                                      | each copy to a device (`to`, `kernels`, `from`) takes so many µs |
// | CONTEXT=300000000                                | a context takes so many bytes of its device                      |
// | SHORT=16                                         | device memory has so many bytes less than it should             |
// | ORDER=7                                          | another order in which warps run                                 |
// | RACES=16                                         | the first launches of each kernel, so many, are searched for      |
// |                                                  | threads that share a byte with no barrier between them           |
// | PTX_EDIT=KERNEL:TEXT=>OTHER:2                    | another text for the second one in a kernel's PTX, 0 for each    |
// | PTX_RAN=FILE                                     | the kernels of PTX that were launched are added to it            |
// | HOLD=FILE                                        | launches on device 0 wait as long as there is FILE.0             |
// | REPORT=FILE                                      | at the end, in one line: what is held still, the peak, launches,  |
// |                                                  | bytes to devices, bytes back, how often memory was asked for     |
#include <chrono>
#include <cstdio>
#include <cstring>
#include <set>
#include <thread>

#include "driver.h"

namespace sim {

std::recursive_mutex lock;

static std::map<std::string, std::string> settings;
std::string setting(const std::string& name) {
  auto set = settings.find(name);
  if (set != settings.end()) return set->second;
  const char* text = getenv(("SIM_CUDA_" + name).c_str());
  return text ? text : "";
}
unsigned long long number(const std::string& name, unsigned long long usual) {
  std::string text = setting(name);
  return text.empty() ? usual : strtoull(text.c_str(), nullptr, 0);
}

static std::map<std::string, int> calls;
int planted(const char* function) {
  LOCKED;
  int call = ++calls[function];
  std::string fail = setting("FAIL");
  size_t first = fail.find(':'), last = fail.rfind(':');
  if (first == std::string::npos || fail.substr(0, first) != function) return OK;
  std::string which = fail.substr(first + 1, last - first - 1);
  bool is_lasting = !which.empty() && which.back() == '+';
  int wanted = atoi(which.c_str());
  return call == wanted || (is_lasting && call > wanted) ? atoi(fail.c_str() + last + 1) : OK;
}

struct Event {
  Stream* stream = nullptr;
  long number = 0;
  // When the stream came by, in milliseconds; before that it is below 0.
  std::shared_ptr<double> time;
};

static double milliseconds_now() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void slow(const std::string& stage) {
  std::string text = setting("SLOW");
  size_t colon = text.find(':');
  if (colon == std::string::npos || text.substr(0, colon) != stage) return;
  std::this_thread::sleep_for(std::chrono::microseconds(strtoull(text.c_str() + colon + 1, nullptr, 0)));
}

std::map<Address, Memory> device_memory;
long launches = 0;
int broken = OK;
thread_local int current = -1;

namespace {
std::map<Address, std::pair<size_t, char*>> pinned;
std::set<Stream*> streams;
std::map<int, size_t> used, peak;
std::map<int, Stream> null_streams;
int contexts = 0;
unsigned long long bytes_to = 0, bytes_from = 0, allocations = 0;

size_t capacity() { return number("MEMORY", 8ull << 30); }
size_t taken() {
  std::string text = setting("TAKEN");
  size_t colon = text.find(':');
  if (colon == std::string::npos || launches < atol(text.c_str())) return 0;
  return strtoull(text.c_str() + colon + 1, nullptr, 0);
}

bool is_inside(Address at, size_t bytes) {
  auto next = device_memory.upper_bound(at);
  if (next == device_memory.begin()) return false;
  auto is = std::prev(next);
  return at + bytes <= is->first + is->second.bytes;
}
bool is_pinned(const void* from, size_t bytes) {
  auto at = reinterpret_cast<Address>(from);
  auto next = pinned.upper_bound(at);
  if (next == pinned.begin()) return false;
  auto is = std::prev(next);
  return at + bytes <= is->first + is->second.first;
}

}  // namespace

Stream& of(void* stream) { return stream ? *static_cast<Stream*>(stream) : null_streams[current]; }
void finish_all() {
  for (Stream* stream : streams) stream->all();
}
Memory& memory_at(Address at, size_t& offset) {
  auto is = std::prev(device_memory.upper_bound(at));
  offset = at - is->first;
  return is->second;
}

}  // namespace sim

using namespace sim;

// Of tests: settings, and what is held.
extern "C" __attribute__((visibility("default"))) void sim_set(const char* name, const char* value) {
  LOCKED;
  settings[name] = value;
  calls.clear();
  launches = 0;
  broken = OK;
}
extern "C" __attribute__((visibility("default"))) unsigned long long sim_used(int device) {
  LOCKED;
  return used[device];
}
extern "C" __attribute__((visibility("default"))) unsigned long long sim_peak(int device) {
  LOCKED;
  return peak[device];
}
extern "C" __attribute__((visibility("default"))) unsigned long long sim_total() { return capacity(); }
extern "C" __attribute__((visibility("default"))) unsigned long long sim_taken() {
  LOCKED;
  return taken();
}
extern "C" __attribute__((visibility("default"))) int sim_devices() { return static_cast<int>(number("DEVICES", 1)); }
extern "C" __attribute__((visibility("default"))) long sim_launches() {
  LOCKED;
  return launches;
}
extern "C" __attribute__((visibility("default"))) int sim_held() {
  LOCKED;
  return static_cast<int>(device_memory.size() + pinned.size() + streams.size()) + contexts + modules_held();
}

namespace {
struct Report {
  ~Report() {
    std::string file = setting("REPORT");
    FILE* out = file.empty() ? nullptr : fopen(file.c_str(), "w");
    if (!out) return;
    fprintf(out, "%d %llu %ld %llu %llu %llu\n", sim_held(), sim_peak(0), launches, bytes_to, bytes_from, allocations);
    fclose(out);
  }
} report;
}  // namespace

API cuInit(unsigned) {
  ENTER(cuInit);
  return OK;
}
API cuDriverGetVersion(int* version) {
  *version = static_cast<int>(number("VERSION", 12080));
  return OK;
}
API cuDeviceGetCount(int* count) {
  ENTER(cuDeviceGetCount);
  *count = sim_devices();
  return OK;
}
API cuDeviceGet(int* device, int ordinal) {
  *device = ordinal;
  return ordinal >= 0 && ordinal < sim_devices() ? OK : NO_DEVICE;
}
API cuDeviceGetName(char* name, int bytes, int) {
  snprintf(name, static_cast<size_t>(bytes), "Simulated GPU");
  return OK;
}
API cuDeviceGetUuid_v2(char* uuid, int device) {
  for (int k = 0; k < 16; k++) uuid[k] = static_cast<char>(0x10 * device + k);
  return OK;
}
API cuDeviceGetUuid(char* uuid, int device) { return cuDeviceGetUuid_v2(uuid, device); }
API cuDeviceTotalMem_v2(size_t* bytes, int) {
  *bytes = capacity();
  return OK;
}
API cuDeviceGetAttribute(int* value, int attribute, int) {
  // Multiprocessors; compute capability, major and minor.
  *value = attribute == 16 ? 4 : attribute == 75 ? 9 : attribute == 76 ? 0 : 1;
  return OK;
}
API cuDevicePrimaryCtxRetain(void** context, int device) {
  ENTER(cuDevicePrimaryCtxRetain);
  LOCKED;
  contexts++;
  used[device] += number("CONTEXT", 0);
  *context = reinterpret_cast<void*>(static_cast<Address>(0x1000 + device));
  return OK;
}
API cuDevicePrimaryCtxRelease_v2(int device) {
  LOCKED;
  contexts--;
  used[device] -= number("CONTEXT", 0);
  return OK;
}
API cuDevicePrimaryCtxSetFlags_v2(int, unsigned) { return OK; }
API cuCtxSetCurrent(void* context) {
  current = context ? static_cast<int>(reinterpret_cast<Address>(context) - 0x1000) : -1;
  return OK;
}
API cuCtxGetCurrent(void** context) {
  *context = current < 0 ? nullptr : reinterpret_cast<void*>(static_cast<Address>(0x1000 + current));
  return OK;
}
API cuCtxSynchronize() {
  LOCKED;
  finish_all();
  return broken;
}
API cuMemGetInfo_v2(size_t* free, size_t* total) {
  LOCKED;
  if (current < 0) return NO_CONTEXT;
  *total = capacity();
  size_t held = used[current] + taken();
  *free = held < *total ? *total - held : 0;
  return broken;
}

API cuStreamCreate(void** stream, unsigned) {
  ENTER(cuStreamCreate);
  LOCKED;
  if (current < 0) return NO_CONTEXT;
  auto* made = new Stream;
  streams.insert(made);
  *stream = made;
  return broken;
}
API cuStreamDestroy_v2(void* stream) {
  LOCKED;
  auto* is = static_cast<Stream*>(stream);
  if (streams.erase(is) == 0) return INVALID;
  is->all();
  delete is;
  return OK;
}
API cuStreamSynchronize(void* stream) {
  ENTER(cuStreamSynchronize);
  LOCKED;
  of(stream).all();
  return broken;
}
API cuStreamWaitEvent(void* stream, void* event, unsigned) {
  LOCKED;
  Event is = *static_cast<Event*>(event);
  if (is.stream && is.stream != &of(stream)) of(stream).push([is] { is.stream->until(is.number); });
  return broken;
}
API cuEventCreate(void** event, unsigned) {
  ENTER(cuEventCreate);
  *event = new Event;
  return OK;
}
API cuEventDestroy_v2(void* event) {
  delete static_cast<Event*>(event);
  return OK;
}
API cuEventRecord(void* event, void* stream) {
  ENTER(cuEventRecord);
  LOCKED;
  auto* is = static_cast<Event*>(event);
  is->stream = &of(stream);
  auto time = std::make_shared<double>(-1);
  is->time = time;
  is->stream->push([time] { *time = milliseconds_now(); });
  is->number = is->stream->next - 1;
  return broken;
}
API cuEventSynchronize(void* event) {
  ENTER(cuEventSynchronize);
  LOCKED;
  if (setting("FORGET") == "wait") return OK;
  auto* is = static_cast<Event*>(event);
  if (is->stream) is->stream->until(is->number);
  return broken;
}
API cuEventQuery(void* event) {
  LOCKED;
  auto* is = static_cast<Event*>(event);
  return is->stream && is->stream->done < is->number ? NOT_READY : broken;
}
API cuEventElapsedTime(float* milliseconds, void* first, void* second) {
  ENTER(cuEventElapsedTime);
  LOCKED;
  auto* from = static_cast<Event*>(first);
  auto* to = static_cast<Event*>(second);
  if (!from->time || !to->time) return NO_HANDLE;
  if (*from->time < 0 || *to->time < 0) return NOT_READY;
  *milliseconds = static_cast<float>(*to->time - *from->time);
  return broken;
}

API cuMemAlloc_v2(Address* at, size_t bytes) {
  ENTER(cuMemAlloc_v2);
  LOCKED;
  if (current < 0) return NO_CONTEXT;
  if (bytes == 0) return INVALID;
  if (used[current] + taken() + bytes > capacity()) return NO_MEMORY;
  // A byte too few for each that is asked for, planted: what a sanitizer has to see, and who executes PTX.
  size_t room = bytes > number("SHORT", 0) ? bytes - number("SHORT", 0) : bytes, there = runs_ptx() ? bytes : room;
  std::unique_ptr<char, Free> held(static_cast<char*>(operator new(there, std::align_val_t(256))));
  memset(held.get(), 0xcd, there);
  *at = reinterpret_cast<Address>(held.get());
  Memory& made = device_memory[*at] = {bytes, room, current, std::move(held), nullptr, nullptr};
  if (runs_ptx()) made.written.reset(static_cast<uint8_t*>(calloc(room, 1)));
  used[current] += bytes;
  allocations++;
  if (used[current] > peak[current]) peak[current] = used[current];
  return broken;
}
API cuMemFree_v2(Address at) {
  LOCKED;
  auto is = device_memory.find(at);
  if (is == device_memory.end()) return INVALID;
  // As the driver does, it waits for all that is under way.
  finish_all();
  used[is->second.device] -= is->second.bytes;
  device_memory.erase(is);
  return OK;
}
API cuMemHostAlloc(void** at, size_t bytes, unsigned) {
  ENTER(cuMemHostAlloc);
  LOCKED;
  char* held = new char[bytes];
  memset(held, 0xcd, bytes);
  pinned[reinterpret_cast<Address>(held)] = {bytes, held};
  *at = held;
  return OK;
}
API cuMemFreeHost(void* at) {
  LOCKED;
  auto is = pinned.find(reinterpret_cast<Address>(at));
  if (is == pinned.end()) return INVALID;
  finish_all();
  delete[] is->second.second;
  pinned.erase(is);
  return OK;
}
API cuMemsetD8Async(Address at, unsigned char byte, size_t bytes, void* stream) {
  LOCKED;
  if (!is_inside(at, bytes)) return INVALID;
  of(stream).push([=] {
    memset(reinterpret_cast<void*>(at), byte, bytes);
    mark_written(at, bytes);
  });
  return broken;
}
API cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, void* stream) {
  ENTER(cuMemcpyHtoDAsync_v2);
  LOCKED;
  if (!is_inside(to, bytes)) return INVALID;
  bytes_to += bytes;
  of(stream).push([=] {
    slow("to");
    mark_written(to, bytes);
  });
  if (is_pinned(from, bytes)) {
    of(stream).push([=] { memcpy(reinterpret_cast<void*>(to), from, bytes); });
  } else {
    // Memory that is not pinned is staged before the call returns.
    auto staged = std::make_shared<std::string>(static_cast<const char*>(from), bytes);
    of(stream).push([=] { memcpy(reinterpret_cast<void*>(to), staged->data(), bytes); });
  }
  return broken;
}
API cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, void* stream) {
  ENTER(cuMemcpyDtoHAsync_v2);
  LOCKED;
  if (!is_inside(from, bytes)) return INVALID;
  bytes_from += bytes;
  of(stream).push([] { slow("from"); });
  of(stream).push([=] { memcpy(to, reinterpret_cast<void*>(from), bytes); });
  unsigned long long wrong = number("WRONG", ~0ull);
  if (wrong < bytes) of(stream).push([=] { static_cast<char*>(to)[wrong] ^= 1; });
  if (!is_pinned(to, bytes)) of(stream).all();
  return broken;
}
API cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void* stream) {
  LOCKED;
  if (!is_inside(from, bytes) || !is_inside(to, bytes)) return INVALID;
  of(stream).push([=] {
    memcpy(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes);
    mark_written(to, bytes, from);
  });
  return broken;
}

API cuGetErrorName(int, const char** text) {
  *text = "CUDA_ERROR";
  return OK;
}
API cuGetErrorString(int error, const char** text) {
  *text = error == NO_MEMORY ? "out of memory" : error == 700 ? "an illegal memory access was encountered" : "an error";
  return OK;
}
