const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
const crypto = require("crypto"), zlib = require("zlib");
function work(n) {
    const parts = [];
    for (let i = 0; i < 20000; i++) parts.push(Buffer.alloc((i * n) % 900, i % 251));
    return crypto.createHash("sha256").update(zlib.deflateSync(Buffer.concat(parts))).digest("hex");
}
if (isMainThread) {
    const results = {};
    let left = 3;
    for (let n = 1; n <= 3; n++)
        new Worker(__filename, { workerData: n }).on("message", (hash) => {
            results[n] = hash;
            if (--left === 0) console.log(work(7), JSON.stringify(results, Object.keys(results).sort()));
        });
} else parentPort.postMessage(work(workerData));
