/**
 * Our TFTP server alone, for bench/tftp.ts: `node bench/tftp-serve.ts ADDRESS FOLDER MTU
 * [THREADS]`.
 */
import { FolderFiles, TftpServer } from '#tftp/mod.ts';

const [address = '127.0.0.1', folder = '.', mtu = '1500', threads] = process.argv.slice(2);
const server = await TftpServer.open({
  address,
  mtu: Number(mtu),
  files: new FolderFiles([folder]),
  ...(threads === undefined ? {} : { threads: Number(threads) }),
});
process.stdout.write('serving\n');
process.once('SIGTERM', () => {
  process.stdout.write(`${JSON.stringify(server.counters())}\n`);
  void server.close();
});
