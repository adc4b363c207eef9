// connect makes a generated client that talks to the agent's Unix socket.
import { Client, RequestManager } from "@open-rpc/client-js";
import { SendenseAgent } from "./client";
import { UnixTransport, defaultSocket } from "./unix";

export async function connect(path: string = defaultSocket): Promise<SendenseAgent> {
  // The generator knows only HTTP, WebSocket and windows. No connection is made before the first request.
  const client = new SendenseAgent({ transport: { type: "http", host: "localhost", port: 1 } });
  const transport = new UnixTransport(path);
  client.rpc = new Client(new RequestManager([transport]));
  (client as any).transport = transport;
  // The generator's check knows no parameters by name. The agent checks them, and says what is wrong.
  (client as any).validator = { validate: () => [] };
  return client;
}
