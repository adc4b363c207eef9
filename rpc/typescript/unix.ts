// The agent's Unix socket as a transport of @open-rpc/client-js.
import * as net from "net";
import { getNotifications } from "@open-rpc/client-js/build/Request";
import type { JSONRPCRequestData } from "@open-rpc/client-js/build/Request";
import { Transport } from "@open-rpc/client-js/build/transports/Transport";

export const defaultSocket = "/run/sendense-agent/agent.sock";

export class UnixTransport extends Transport {
  private socket?: net.Socket;

  constructor(private path: string = defaultSocket) {
    super();
  }

  // One message a line comes from the agent.
  public connect(): Promise<any> {
    return new Promise<void>((resolve, reject) => {
      let rest = "";
      this.socket = net.createConnection(this.path, resolve);
      this.socket.setEncoding("utf8");
      this.socket.on("error", reject);
      this.socket.on("data", (chunk) => {
        const lines = (rest + chunk).split("\n");
        rest = lines.pop() as string;
        for (const line of lines) {
          if (line) this.transportRequestManager.resolveResponse(line);
        }
      });
    });
  }

  public async sendData(data: JSONRPCRequestData, timeout: number | null = null): Promise<any> {
    const answer = this.transportRequestManager.addRequest(data, timeout);
    (this.socket as net.Socket).write(JSON.stringify(this.parseData(data)) + "\n");
    this.transportRequestManager.settlePendingRequest(getNotifications(data));
    return answer;
  }

  public close(): void {
    this.socket?.end();
  }
}
