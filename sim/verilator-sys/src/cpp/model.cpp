// C interface of one Verilated design. The build puts Verilator's files before this text, in the
// same translation unit, and defines SHIM_PORTS from the generated header.

#include <memory>
#include <new>

#include "shim.h"

namespace {

struct Instance {
  shim::Sink sink;
  VerilatedContext context;
#if VM_TRACE_FST
  std::unique_ptr<VerilatedFstC> trace;
#endif
  std::unique_ptr<Vmodel> top;
};

struct PortEntry {
  const char* name;
  uint32_t direction;  // 0 input, 1 output, 2 inout
  uint32_t storage;    // bytes of one element: 1, 2, 4, 8, or 0 for an array of 32-bit words
  uint32_t width;      // bits
  void* (*address)(Vmodel&);
};

const PortEntry kPorts[] = {
    SHIM_PORTS
    {nullptr, 0, 0, 0, nullptr},
};

// Runs `body` with this instance as the one that hooks report to.
template <typename Body>
int32_t guarded(Instance& instance, Body body) noexcept {
  shim::current = &instance.sink;
  Verilated::threadContextp(&instance.context);
  try {
    body();
  } catch (const shim::FatalError&) {
    // The hook has noted the reason.
  } catch (const std::exception& error) {
    instance.sink.status = shim::kFatal;
    instance.sink.message = error.what();
  }
  shim::current = nullptr;
  return instance.sink.status;
}

}  // namespace

#define SHIM_EXPORT extern "C" __attribute__((visibility("default")))

SHIM_EXPORT uint32_t shim_abi() { return SHIM_ABI; }

SHIM_EXPORT uint32_t shim_features() { return (VM_TRACE_FST ? 1u : 0u) | (VM_COVERAGE ? 2u : 0u); }

SHIM_EXPORT uint32_t shim_port_count() { return sizeof kPorts / sizeof kPorts[0] - 1; }

SHIM_EXPORT const char* shim_port(uint32_t index, uint32_t* direction, uint32_t* storage,
                                  uint32_t* width) {
  const PortEntry& port = kPorts[index];
  *direction = port.direction;
  *storage = port.storage;
  *width = port.width;
  return port.name;
}

SHIM_EXPORT void* shim_port_address(Instance* instance, uint32_t index) {
  return kPorts[index].address(*instance->top);
}

SHIM_EXPORT Instance* shim_create(uint32_t seed, int32_t randomize) {
  Instance* instance = new (std::nothrow) Instance;
  if (!instance) return nullptr;
  const int32_t status = guarded(*instance, [&] {
    instance->context.randReset(randomize ? 2 : 0);
    instance->context.randSeed(static_cast<int>(seed));
#if VM_TRACE_FST
    instance->context.traceEverOn(true);
#endif
    instance->top = std::make_unique<Vmodel>(&instance->context, "TOP");
  });
  // A halt in an initial block is reported by the first evaluation; without a model there is none.
  if (!instance->top || status == shim::kFatal) {
    delete instance;
    return nullptr;
  }
  return instance;
}

SHIM_EXPORT void shim_destroy(Instance* instance) {
  guarded(*instance, [&] {
    instance->top->final();
#if VM_TRACE_FST
    instance->trace.reset();
#endif
    instance->top.reset();
  });
  delete instance;
}

SHIM_EXPORT int32_t shim_eval(Instance* instance, uint64_t time) {
  instance->context.time(time);
  return guarded(*instance, [&] { instance->top->eval(); });
}

// What was printed since the last clear; valid until the next call on this instance.
SHIM_EXPORT const char* shim_output(Instance* instance, uint64_t* length) {
  *length = instance->sink.output.size();
  return instance->sink.output.data();
}

SHIM_EXPORT void shim_output_clear(Instance* instance) { instance->sink.output.clear(); }

SHIM_EXPORT int32_t shim_halt(Instance* instance, const char** file, const char** message) {
  *file = instance->sink.file.c_str();
  *message = instance->sink.message.c_str();
  return instance->sink.line;
}

SHIM_EXPORT int32_t shim_trace_open(Instance* instance, const char* path) {
#if VM_TRACE_FST
  bool open = false;
  const int32_t status = guarded(*instance, [&] {
    // One trace object per model, opened again for each file: a model can be traced by only one.
    if (!instance->trace) {
      instance->trace = std::make_unique<VerilatedFstC>();
      instance->top->trace(instance->trace.get(), 99);
    }
    if (instance->trace->isOpen()) instance->trace->close();
    instance->trace->open(path);
    open = instance->trace->isOpen();
  });
  return status == shim::kRunning && open ? 0 : 1;
#else
  (void)instance, (void)path;
  return 1;
#endif
}

SHIM_EXPORT int32_t shim_trace_dump(Instance* instance, uint64_t time) {
#if VM_TRACE_FST
  return guarded(*instance, [&] { instance->trace->dump(time); });
#else
  (void)time;
  return instance->sink.status;
#endif
}

SHIM_EXPORT void shim_trace_close(Instance* instance) {
#if VM_TRACE_FST
  guarded(*instance, [&] {
    if (instance->trace) instance->trace->close();
  });
#else
  (void)instance;
#endif
}

SHIM_EXPORT int32_t shim_coverage_write(Instance* instance, const char* path) {
#if VM_COVERAGE
  guarded(*instance, [&] { instance->context.coveragep()->write(path); });
#else
  (void)path;
#endif
  return instance->sink.status;
}
