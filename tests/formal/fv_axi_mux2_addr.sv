// Purpose: proves axi_mux2_addr: each master's addresses come out whole, once and in order; none waits long.
// Latency: none (a proof).
// Throughput: masters, memory and may_i do whatever they like.
// Back-pressure: any. Assumed: nothing, not even that offered addresses stay.
// Notes: of each field one bit varies, of the address two; others are zero and must stay so: the bits
//        of a word lie beside each other and none of them controls anything.

`default_nettype none

module fv_axi_mux2_addr (
    input wire logic             clk_i,
    input wire logic             reset_i,
    input wire logic [1:0]       s_valid_i,
    input wire logic [1:0][53:0] s_addr_i,
    input wire logic             may_i,
    input wire logic             m_ready_i
);
  // From the top: identifier, burst, size, length, address.
  localparam logic [53:0] Varies = {1'b1, 2'b10, 3'b001, 8'h80, 40'h80_0000_0001};

  logic started_q, rst_n, take, master, m_valid, taken_q, master_q, may_q, waits_q;
  logic [1:0] s_ready, s_id, m_id;
  logic [1:0][39:0] s_addr;
  logic [1:0][7:0] s_len;
  logic [1:0][2:0] s_size;
  logic [1:0][1:0] s_burst;
  logic [53:0] m_addr;
  logic [1:0][53:0] in, head;
  logic [1:0][2:0] count;
  logic [1:0][1:0] passed_q;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_n = started_q && !reset_i;

  for (genvar k = 0; k < 2; k++) begin : g_master
    assign in[k] = s_addr_i[k] & Varies;
    assign {s_id[k], s_burst[k], s_size[k], s_len[k], s_addr[k]} = in[k];

    fv_queue #(
        .Width(54),
        .Depth(3)
    ) u_model (
        .clk_i,
        .rst_ni (rst_n),
        .push_i (s_valid_i[k] && s_ready[k]),
        .data_i (in[k]),
        .pop_i  (m_valid && m_ready_i && m_id[1] == 1'(k)),
        .head_o (head[k]),
        .count_o(count[k])
    );

    // Addresses of the other master that went out while this one had some waiting.
    always_ff @(posedge clk_i) begin
      if (!rst_n || count[k] == '0) passed_q[k] <= '0;
      else if (m_valid && m_ready_i) passed_q[k] <= m_id[1] == 1'(k) ? '0 : passed_q[k] + 1'b1;
    end
  end

  axi_mux2_addr dut (
      .clk_i,
      .rst_ni   (rst_n),
      .s_valid_i,
      .s_ready_o(s_ready),
      .s_addr_i (s_addr),
      .s_id_i   (s_id),
      .s_len_i  (s_len),
      .s_size_i (s_size),
      .s_burst_i(s_burst),
      .may_i,
      .take_o   (take),
      .master_o (master),
      .m_valid_o(m_valid),
      .m_ready_i,
      .m_addr_o (m_addr[39:0]),
      .m_id_o   (m_id),
      .m_len_o  (m_addr[47:40]),
      .m_size_o (m_addr[50:48]),
      .m_burst_o(m_addr[52:51])
  );
  assign m_addr[53] = m_id[0];

  fv_stable #(
      .Width(55)
  ) u_out (
      .clk_i,
      .rst_ni   (rst_n),
      .valid_i  (m_valid),
      .ready_i  (m_ready_i),
      .payload_i({m_id[1], m_addr})
  );

  always_ff @(posedge clk_i) begin
    taken_q  <= rst_n && take;
    master_q <= master;
    may_q    <= may_i;
    waits_q  <= rst_n && count != '0 && !m_valid;
  end

  // Bit by bit, because small goals are proven sooner than one large one.
  for (genvar i = 0; i < 54; i++) begin : g_bit
    always_comb begin
      if (rst_n) a_content: assert (!m_valid || m_addr[i] == head[m_id[1]][i]);
    end
  end

  always_comb begin
    if (rst_n) begin
      a_known: assert (!m_valid || count[m_id[1]] != '0);
      a_bound: assert (count[0] <= 3'd3 && count[1] <= 3'd3);
      a_choice: assert (!taken_q || (m_valid && m_id[1] == master_q));
      a_only_if_it_may: assert (!take || may_i);
      a_goes_on: assert (!waits_q || !may_q || m_valid);
      a_fair: assert (passed_q[0] <= 2'd2 && passed_q[1] <= 2'd2);
    end
  end
endmodule

`default_nettype wire
