// What every client here does: be asked by a server's tools, and hear of resources and lists that change.
// It knows no SDK. Told where a client differs; prints one line of JSON.

const SECONDS = 20;

export const capabilities = {
  elicitation: { form: {}, url: {} },
  sampling: { tools: {} },
  roots: { listChanged: true },
};

export const answers = {
  "elicitation/create": (params) =>
    params.mode === "url" ? { action: "accept" } : { action: "accept", content: { name: "typescript" } },
  "sampling/createMessage": (params) => {
    const text = { type: "text", text: "sampled by typescript" };
    if (params.tools === undefined) return { role: "assistant", content: text, model: "m", stopReason: "endTurn" };
    const use = { type: "tool_use", id: "use-1", name: params.tools[0].name, input: { city: "Paris" } };
    return { role: "assistant", content: [text, use], model: "m", stopReason: "toolUse" };
  },
  "roots/list": () => ({ roots: [{ uri: "file:///home/typescript", name: "home" }] }),
};

export async function main(connect) {
  const [url, shown] = [new URL(process.argv[2]), JSON.parse(process.argv[3])];
  const asked = [];
  const heard = [];
  let wake = () => {};
  const answer = (method) => (request) => {
    asked.push(request.params?.mode ?? method);
    return answers[method](request.params ?? {});
  };
  const told = (method) => (notification) => {
    heard.push([method, notification.params?.uri ?? null]);
    wake();
  };
  const until = async (method, uri) => {
    const late = setTimeout(() => wake("late"), SECONDS * 1000);
    while (!heard.some(([name, about]) => name === method && about === uri)) {
      const woken = await new Promise((resolve) => (wake = resolve));
      if (woken === "late") throw new Error(`never heard ${method} ${uri}: ${JSON.stringify(heard)}`);
    }
    clearTimeout(late);
  };
  const client = await connect(url, answer, told);
  const texts = {};
  for (const tool of ["ask_form", "ask_url", "ask_sampling", "ask_sampling_tools", "ask_roots", "ask_several"]) {
    const result = await client.call({ name: shown.prefix + tool, arguments: {} });
    texts[tool] = result.isError ? { failed: result.content } : JSON.parse(result.content[0].text);
  }
  const close = await client.subscribe(shown.uri);
  await client.call({ name: shown.prefix + "touch", arguments: { uri: shown.own } });
  await until("notifications/resources/updated", shown.uri);
  await client.call({ name: shown.prefix + "change", arguments: { kind: "tools", name: `ts_${process.pid}` } });
  await until("notifications/tools/list_changed", null);
  await client.call({ name: shown.prefix + "change", arguments: { kind: "tools", name: `ts_${process.pid}` } });
  await close();
  const revision = client.revision();
  await client.close();
  console.log(JSON.stringify({ revision, texts, asked, heard }));
}
