// The TypeScript SDK's first line: `initialize`, sessions, and questions on the stream of a call.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { capabilities, main } from "./questions.mjs";

await main(async (url, answer, told) => {
  const client = new Client({ name: "typescript-legacy", version: "1.0.0" }, { capabilities });
  client.setRequestHandler(ElicitRequestSchema, answer("elicitation/create"));
  client.setRequestHandler(CreateMessageRequestSchema, answer("sampling/createMessage"));
  client.setRequestHandler(ListRootsRequestSchema, answer("roots/list"));
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, told("notifications/resources/updated"));
  client.setNotificationHandler(ToolListChangedNotificationSchema, told("notifications/tools/list_changed"));
  const transport = new StreamableHTTPClientTransport(url);
  await client.connect(transport);
  return {
    call: (params) => client.callTool(params),
    subscribe: async (uri) => {
      await client.subscribeResource({ uri });
      return () => client.unsubscribeResource({ uri });
    },
    revision: () => transport.protocolVersion,
    close: async () => {
      await transport.terminateSession();
      await client.close();
    },
  };
});
