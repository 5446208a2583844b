// node run.mjs FILE CASE: runs one exported function of a module here. An exception fails it.
const [file, name] = process.argv.slice(2);
const cases = await import(`./${file}`);
await cases[name]();
process.exit(0);
