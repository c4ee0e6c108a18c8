// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A token that calls back, as hooks do: once armed, the next transfer first makes the token call its target.
contract HookToken is ERC20 {
    address public target;
    bytes public call;
    bool public succeeded;
    bytes public answer;

    constructor() ERC20("Hook", "HOOK") {}

    function mint(address account, uint256 amount) external {
        _mint(account, amount);
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }

    function arm(address target_, bytes calldata call_) external {
        (target, call) = (target_, call_);
    }

    function _update(address from, address to, uint256 value) internal override {
        if (target != address(0)) {
            address once = target;
            target = address(0);
            (succeeded, answer) = once.call(call);
        }
        super._update(from, to, value);
    }
}
