// Backs up the VM named on the command line with a generated client, and prints what it saw as JSON.
import { connect } from "./connect";
import type { Backup } from "./client";

const wait = (ms: number) => new Promise((done) => setTimeout(done, ms));

async function main(vm: string) {
  const agent = await connect();
  const status = await agent["agent.status"]();
  const refused = await agent["backup.start"]("no such VM", "full").then(
    () => null,
    (error) => ({ code: error.code, message: error.message, data: error.data }),
  );
  const started = await agent["backup.start"](vm, "auto");
  let backup: Backup = await agent["backup.get"](started.backup_id);
  while (!["completed", "failed", "cancelled"].includes(backup.state)) {
    await wait(100);
    backup = await agent["backup.get"](started.backup_id);
  }
  const page = await agent["backup.list"](vm, undefined, undefined, 10);
  console.log(JSON.stringify({ version: status.version, refused, backup, listed: page.backups.map((b) => b.backup_id) }));
  agent.rpc.close();
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
