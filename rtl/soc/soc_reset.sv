// Purpose: resets the accelerator without leaving its memory accesses half done.
// Latency: the reset begins when nothing is under way, at the latest after 2^DrainLog2 clocks.
// Throughput: passes addresses through at once while there is no reset.
// Back-pressure: from the request to the end of the reset neither new addresses nor host accesses pass.
// Notes: an answer to an access of before the reset would be taken for that of an access after it.
//        An accelerator that does not finish its accesses in time is reset all the same.

`default_nettype none

module soc_reset #(
    parameter int unsigned DrainLog2 = 16
) (
    input  wire logic       clk_i,
    input  wire logic       rst_ni,
    input  wire logic       request_i,
    output logic            accel_rst_no,
    output logic            hold_o,  // host accesses wait
    // Addresses on their way to memory
    input  wire logic       arvalid_i,
    output logic            arready_o,
    input  wire logic [7:0] arlen_i,
    output logic            arvalid_o,
    input  wire logic       arready_i,
    input  wire logic       awvalid_i,
    output logic            awready_o,
    output logic            awvalid_o,
    input  wire logic       awready_i,
    // A beat was read, a write was answered
    input  wire logic       read_i,
    input  wire logic       written_i
);
  typedef enum logic [1:0] {
    StRun,
    StDrain,
    StReset
  } state_e;

  state_e               state_q;
  logic [DrainLog2-1:0] timer_q;
  logic [15:0]          reads_q, writes_q;
  logic                 ar_wait_q, aw_wait_q, quiet;

  // An address that was shown stays until it is taken.
  assign arvalid_o = arvalid_i && (state_q == StRun || ar_wait_q);
  assign arready_o = arready_i && (state_q == StRun || ar_wait_q);
  assign awvalid_o = awvalid_i && (state_q == StRun || aw_wait_q);
  assign awready_o = awready_i && (state_q == StRun || aw_wait_q);

  assign quiet  = reads_q == '0 && writes_q == '0 && !ar_wait_q && !aw_wait_q;
  assign hold_o = state_q != StRun;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q      <= StReset;
      timer_q      <= '0;
      reads_q      <= '0;
      writes_q     <= '0;
      ar_wait_q    <= 1'b0;
      aw_wait_q    <= 1'b0;
      accel_rst_no <= 1'b0;
    end else begin
      ar_wait_q <= arvalid_o && !arready_i;
      aw_wait_q <= awvalid_o && !awready_i;
      reads_q   <= reads_q + (arvalid_o && arready_i ? 16'(arlen_i) + 16'd1 : 16'd0) - 16'(read_i);
      writes_q  <= writes_q + 16'(awvalid_o && awready_i) - 16'(written_i);
      timer_q   <= timer_q + 1'b1;
      unique case (state_q)
        StRun: begin
          timer_q <= '0;
          if (request_i) state_q <= StDrain;
        end
        StDrain: begin
          if (quiet || timer_q == '1) begin
            state_q      <= StReset;
            timer_q      <= '0;
            accel_rst_no <= 1'b0;
          end
        end
        default: begin
          if (timer_q[3:0] == '1 && !request_i) begin
            state_q      <= StRun;
            accel_rst_no <= 1'b1;
          end
        end
      endcase
    end
  end
endmodule

`default_nettype wire
