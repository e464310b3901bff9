import hashlib, json, re, subprocess, sys, threading, zlib

results = {}

def work(n):
    table = {i: [str(i)] * (i % 7) for i in range(20_000 + n)}
    text = json.dumps(table)
    words = re.findall(r"\d+", text)
    results[n] = hashlib.sha256(zlib.compress("".join(words).encode())).hexdigest()

threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for n in range(4):
    out = subprocess.run([sys.executable, "-c", f"print(sum(len(str(i)) for i in range({n + 1} * 10000)))"],
                         capture_output=True, check=True)
    results[f"child {n}"] = out.stdout.decode().strip()
for key in sorted(results, key=str):
    print(key, results[key])
