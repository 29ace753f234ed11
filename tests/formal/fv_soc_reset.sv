// Purpose: proves soc_reset: addresses stay until taken, none passes while held, when a reset begins and ends.
// Latency: none (a proof).
// Throughput: host, accelerator and memory do whatever they like.
// Back-pressure: assumed: the accelerator keeps what it offers until it is reset, then offers nothing; memory
//                answers only what it was asked; at most MaxBeats beats and writes are under way.
// Notes: the timer has five bits instead of sixteen.

`default_nettype none

module fv_soc_reset #(
    parameter int unsigned DrainLog2 = 5,
    parameter int unsigned MaxBeats  = 300
) (
    input wire logic       clk_i,
    input wire logic       reset_i,
    input wire logic       request_i,
    input wire logic       arvalid_i,
    input wire logic [7:0] arlen_i,
    input wire logic       m_arready_i,
    input wire logic       awvalid_i,
    input wire logic       m_awready_i,
    input wire logic       read_i,
    input wire logic       written_i
);
  logic started_q, rst_n, accel_rst_n, hold, arready, awready, m_arvalid, m_awvalid;
  logic ar_waits_q, aw_waits_q, accel_q, hold_q;
  logic [15:0] reads_q, writes_q;
  logic [DrainLog2:0] drained_q;
  logic [4:0] reset_q, calm_q;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_n = started_q && !reset_i;

  soc_reset #(
      .DrainLog2(DrainLog2)
  ) dut (
      .clk_i,
      .rst_ni      (rst_n),
      .request_i,
      .accel_rst_no(accel_rst_n),
      .hold_o      (hold),
      .arvalid_i,
      .arready_o   (arready),
      .arlen_i,
      .arvalid_o   (m_arvalid),
      .arready_i   (m_arready_i),
      .awvalid_i,
      .awready_o   (awready),
      .awvalid_o   (m_awvalid),
      .awready_i   (m_awready_i),
      .read_i,
      .written_i
  );

  fv_stable #(
      .Width (8),
      .Assert(1'b0)
  ) u_ar (
      .clk_i,
      .rst_ni   (rst_n && accel_rst_n),
      .valid_i  (arvalid_i),
      .ready_i  (arready),
      .payload_i(arlen_i)
  );
  fv_stable #(
      .Width (1),
      .Assert(1'b0)
  ) u_aw (
      .clk_i,
      .rst_ni   (rst_n && accel_rst_n),
      .valid_i  (awvalid_i),
      .ready_i  (awready),
      .payload_i(1'b0)
  );

  // What is under way, how long the reset has been prepared, how long it has lasted, and for how long
  // nobody has asked for it.
  always_ff @(posedge clk_i) begin
    accel_q    <= accel_rst_n && rst_n;
    hold_q     <= hold && rst_n;
    ar_waits_q <= rst_n && m_arvalid && !m_arready_i;
    aw_waits_q <= rst_n && m_awvalid && !m_awready_i;
    if (!rst_n) begin
      reads_q   <= '0;
      writes_q  <= '0;
      drained_q <= '0;
      reset_q   <= '0;
      calm_q    <= '0;
    end else begin
      reads_q   <= reads_q + (m_arvalid && m_arready_i ? 16'(arlen_i) + 16'd1 : 16'd0) - 16'(read_i);
      writes_q  <= writes_q + 16'(m_awvalid && m_awready_i) - 16'(written_i);
      drained_q <= hold && accel_rst_n ? drained_q + 1'b1 : '0;
      reset_q   <= accel_rst_n ? '0 : reset_q[4] ? reset_q : reset_q + 1'b1;
      calm_q    <= accel_rst_n || request_i ? '0 : calm_q + 1'b1;
    end
  end

  always_comb begin
    if (rst_n) begin
      // A clock after its reset began the accelerator offers nothing.
      m_silent: assume (accel_rst_n || accel_q || (!arvalid_i && !awvalid_i));
      m_answers: assume ((!read_i || reads_q != '0) && (!written_i || writes_q != '0));
      m_bound: assume (32'(reads_q) <= MaxBeats && 32'(writes_q) <= MaxBeats);

      // While the accelerator itself is reset it withdraws what it offered.
      a_ar_stays: assert (!ar_waits_q || m_arvalid || !accel_rst_n);
      a_aw_stays: assert (!aw_waits_q || m_awvalid || !accel_rst_n);
      a_none_while_held: assert (!hold || ((!m_arvalid || ar_waits_q) && (!m_awvalid || aw_waits_q)));
      a_all_otherwise: assert (hold || (m_arvalid == arvalid_i && m_awvalid == awvalid_i));
      a_taken_twice_or_never: assert ((arvalid_i && arready) == (m_arvalid && m_arready_i));
      a_written_twice_or_never: assert ((awvalid_i && awready) == (m_awvalid && m_awready_i));
      // The reset begins on silence, or when the timer has run out.
      a_silence: assert (!accel_q || accel_rst_n || 32'(drained_q) == 2 ** DrainLog2 ||
                         (reads_q == '0 && writes_q == '0 && !ar_waits_q && !aw_waits_q));
      a_prepared: assert (!accel_q || accel_rst_n || drained_q != '0);
      a_drain_ends: assert (32'(drained_q) <= 2 ** DrainLog2);
      a_held_in_reset: assert (accel_rst_n || hold);
      a_long_enough: assert (accel_q || !accel_rst_n || reset_q[4]);
      a_reset_ends: assert (calm_q <= 5'd16);
    end
  end
endmodule

`default_nettype wire
