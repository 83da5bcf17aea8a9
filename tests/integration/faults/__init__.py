"""What breaks while calls are under way: containers, engines, gateways, remote servers, disks, clients."""
