// Purpose: weight stream between LD and MM.
// Latency: a beat can be read two cycles after it was written.
// Throughput: one beat in and one beat out per cycle.
// Back-pressure: writes are never refused; LD reserves room by free_o before it asks for beats.
// Notes: free_o changes with the clock edge after a write or a read from storage.

`default_nettype none

module stream_fifo #(
    parameter int unsigned AxiBits     = 256,
    parameter int unsigned StreamBeats = 1024
) (
    input  wire logic                               clk_i,
    input  wire logic                               rst_ni,
    input  wire logic                               clr_i,
    input  wire logic                               swr_valid_i,
    input  wire logic [AxiBits-1:0]                 swr_data_i,
    output logic [$clog2(StreamBeats + 1)-1:0]      free_o,
    output logic                                    srd_valid_o,
    output logic [AxiBits-1:0]                      srd_data_o,
    input  wire logic                               srd_ready_i
);
  ram_fifo #(
      .Width(AxiBits),
      .Depth(StreamBeats)
  ) u_fifo (
      .clk_i,
      .rst_ni,
      .clr_i,
      .wvalid_i(swr_valid_i),
      .wdata_i (swr_data_i),
      .free_o,
      .rvalid_o(srd_valid_o),
      .rready_i(srd_ready_i),
      .rdata_o (srd_data_o)
  );
endmodule

`default_nettype wire
