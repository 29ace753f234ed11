// Hooks of the Verilated runtime. The build puts the runtime's own files before this text, in the
// same translation unit, with VL_USER_{FINISH,STOP,FATAL} and VL_PRINTF defined.

#include <cstdarg>
#include <cstdio>

#include "shim.h"

namespace shim {

thread_local Sink* current = nullptr;

// Text that nobody takes must not grow without end.
constexpr size_t kOutputLimit = 1 << 20;

static void append(Sink& sink, const char* text, size_t length) {
  if (sink.output.size() > kOutputLimit) return;
  sink.output.append(text, length);
  if (sink.output.size() > kOutputLimit) sink.output += "\n[output beyond 1 MiB dropped]\n";
}

static void halt(Status status, const char* file, int line, const char* message) {
  if (!current) return;
  // The first reason counts; a $stop after a $finish in the same evaluation is noise.
  if (current->status != kRunning) return;
  current->status = status;
  current->file = file ? file : "";
  current->line = line;
  if (message) current->message = message;
}

}  // namespace shim

int shim_printf(const char* format, ...) {
  char small[512];
  va_list args;
  va_start(args, format);
  va_list again;
  va_copy(again, args);
  const int length = vsnprintf(small, sizeof small, format, args);
  va_end(args);
  if (length > 0 && shim::current) {
    if (static_cast<size_t>(length) < sizeof small) {
      shim::append(*shim::current, small, length);
    } else {
      std::string large(length + 1, '\0');
      vsnprintf(large.data(), large.size(), format, again);
      shim::append(*shim::current, large.data(), length);
    }
  }
  va_end(again);
  return length;
}

void vl_finish(const char* file, int line, const char*) {
  shim::halt(shim::kFinish, file, line, nullptr);
  Verilated::threadContextp()->gotFinish(true);
}

void vl_stop(const char* file, int line, const char*) {
  shim::halt(shim::kStop, file, line, nullptr);
  Verilated::threadContextp()->gotError(true);
  Verilated::threadContextp()->gotFinish(true);
}

void vl_fatal(const char* file, int line, const char*, const char* message) {
  shim::halt(shim::kFatal, file, line, message);
  Verilated::threadContextp()->gotError(true);
  Verilated::threadContextp()->gotFinish(true);
  throw shim::FatalError();
}
