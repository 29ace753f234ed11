// Purpose: transmitter of a UART: 8 data bits, no parity, one stop bit, low bit first.
// Latency: the start bit begins in the clock after a byte was taken.
// Throughput: one byte per ten bit times and one clock.
// Back-pressure: ready/valid; ready_o comes from registers.
// Notes: ClocksPerBit is in units of 1/256 clock, at least 4 clocks. tx_o is a register.

`default_nettype none

module link_uart_tx #(
    parameter int unsigned ClocksPerBit = 4267
) (
    input  wire logic       clk_i,
    input  wire logic       rst_ni,
    input  wire logic       valid_i,
    output logic            ready_o,
    input  wire logic [7:0] data_i,
    output logic            tx_o
);
  localparam int unsigned TimeW = 24;
  localparam logic [TimeW-1:0] Bit = TimeW'(ClocksPerBit);

  if (ClocksPerBit < 4 * 256 || ClocksPerBit >= 32'd1 << (TimeW - 1)) begin : g_check_rate
    $error("link_uart_tx: ClocksPerBit must be 4 to 32767 clocks, times 256");
  end

  // Bits that are not on the line yet; the line follows the lowest.
  logic [8:0] bits_q;
  logic [3:0] count_q;
  logic [TimeW-1:0] left_q;
  logic last_clock;

  assign last_clock = left_q < TimeW'(2 * 256);
  assign ready_o    = count_q == '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      count_q <= '0;
      tx_o    <= 1'b1;
    end else if (ready_o) begin
      if (valid_i) begin
        count_q <= 4'd10;
        tx_o    <= 1'b0;
      end
    end else if (last_clock) begin
      count_q <= count_q - 1'b1;
      tx_o    <= (count_q == 4'd1) ? 1'b1 : bits_q[0];
    end
  end

  always_ff @(posedge clk_i) begin
    if (ready_o) begin
      bits_q <= {1'b1, data_i};
      left_q <= Bit;
    end else if (last_clock) begin
      bits_q <= {1'b1, bits_q[8:1]};
      // What is left of a clock is carried into the next bit.
      left_q <= left_q + Bit - TimeW'(256);
    end else begin
      left_q <= left_q - TimeW'(256);
    end
  end
endmodule

`default_nettype wire
