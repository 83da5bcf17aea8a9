// The TypeScript SDK's second line, held to the stateless revision: rounds of input, and a stream to listen on.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { capabilities, main } from "./questions.mjs";

await main(async (url, answer, told) => {
  const versionNegotiation = { mode: { pin: "2026-07-28" } };
  const client = new Client({ name: "typescript-modern", version: "1.0.0" }, { capabilities, versionNegotiation });
  for (const method of ["elicitation/create", "sampling/createMessage", "roots/list"]) {
    client.setRequestHandler(method, answer(method));
  }
  for (const method of ["notifications/resources/updated", "notifications/tools/list_changed"]) {
    client.setNotificationHandler(method, told(method));
  }
  await client.connect(new StreamableHTTPClientTransport(url));
  return {
    call: (params) => client.callTool(params),
    subscribe: async (uri) => {
      const stream = await client.listen({ resourceSubscriptions: [uri], toolsListChanged: true });
      return () => stream.close();
    },
    revision: () => client.getNegotiatedProtocolVersion(),
    close: () => client.close(),
  };
});
