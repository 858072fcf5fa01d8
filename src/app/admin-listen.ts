import { readFileSync } from 'node:fs';
import { EnvironmentError, messageOf, UserError } from '#base/mod.ts';

const PORT_MAX = 65_535;

/**
 * Where the admin API listens on TCP: `admin.listen` and the text of `admin.tokenFile`. Throws
 * UserError `admin-listen`, EnvironmentError `admin-token`.
 */
export function adminListen(
  listen: string,
  tokenFile: string | undefined,
): { address: string; port: number; token?: string } {
  const m = /^\[?([^\]]+)\]?:(\d{1,5})$/.exec(listen);
  const port = Number(m?.[2]);
  if (m === null || port > PORT_MAX) {
    throw new UserError('invalid', 'admin-listen', {
      what: `admin.listen "${listen}" is no address with a port`,
      todo: 'write it as 127.0.0.1:8081',
    });
  }
  const at = { address: m[1] ?? '', port };
  return tokenFile === undefined ? at : { ...at, token: readToken(tokenFile) };
}

function readToken(file: string): string {
  const todo = `make it: (umask 077; openssl rand -hex 32 > ${file}), or mend admin.tokenFile`;
  let token: string;
  try {
    token = readFileSync(file, 'utf8').trim();
  } catch (e) {
    const what = `the token of the admin API cannot be read from ${file}`;
    throw new EnvironmentError('admin-token', { what, why: messageOf(e), todo }, { cause: e });
  }
  if (token !== '') return token;
  const what = `the file ${file} has no token of the admin API: it is empty`;
  throw new EnvironmentError('admin-token', { what, todo });
}
