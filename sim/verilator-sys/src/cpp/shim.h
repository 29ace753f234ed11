// State of one model that the Verilated runtime's hooks write and the C interface reads.
#pragma once

#include <cstdint>
#include <exception>
#include <string>

namespace shim {

enum Status : int32_t { kRunning = 0, kFinish = 1, kStop = 2, kFatal = 3 };

struct Sink {
  int32_t status = kRunning;
  int32_t line = 0;
  std::string file;
  std::string message;  // the simulator's own words about the halt
  std::string output;   // $display and friends, until it is taken
};

// Thrown by vl_fatal, which must not return: Verilator loops forever on a combinational loop
// otherwise. Caught in the C interface; it never leaves the shared object.
struct FatalError : std::exception {};

// The model that this thread evaluates now.
extern thread_local Sink* current;

}  // namespace shim
