// Which of sent and received a person calls what: at a client received is the download; at a server sent is.

export function directions(role) {
  const [first, second] = role === "client" ? ["Download", "Upload"] : ["To the client", "From the client"];
  const [down, up] = role === "client" ? ["rx", "tx"] : ["tx", "rx"];
  return [
    { figure: `${down}_bps`, name: first, arrow: "↓" },
    { figure: `${up}_bps`, name: second, arrow: "↑" },
  ];
}
