import { checkTree } from './rules.ts';
import { readTree } from './tree.ts';

/** `npm run check`: prints every broken house rule with what to do instead; exit 1 if any. */
const files = await readTree(process.cwd());
const findings = checkTree(files);
for (const f of findings) process.stdout.write(`${f.path}:${f.line}: ${f.rule}: ${f.message}\n`);
process.stdout.write(`${files.length} files read, ${findings.length} findings\n`);
process.exitCode = findings.length === 0 ? 0 : 1;
