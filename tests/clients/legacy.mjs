// The TypeScript SDK's first line: `initialize` and sessions.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { main } from "./steps.mjs";

await main(async (url) => {
  const client = new Client({ name: "typescript-legacy", version: "1.0.0" });
  const transport = new StreamableHTTPClientTransport(url);
  await client.connect(transport);
  return {
    list: (cursor) => client.listTools(cursor === undefined ? {} : { cursor }),
    call: (params, options) => client.callTool(params, undefined, options),
    revision: () => transport.protocolVersion,
    close: async () => {
      await transport.terminateSession();
      await client.close();
    },
  };
});
